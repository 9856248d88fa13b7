"""What the training of image and of text victims shares."""

from abc import ABC, abstractmethod
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from lightning_extract.data.draws import mix_seed
from lightning_extract.data.image_batches import BatchIndexed
from lightning_extract.data.seeds import run_seed
from lightning_extract.errors import InputError
from lightning_extract.networks import set_dropout, synchronise_batch_norm
from lightning_extract.victims.accuracy import measure_accuracy
from lightning_extract.victims.best_weights import BestWeights
from lightning_extract.victims.card import CARD_FILE
from lightning_extract.victims.loading import read_card
from lightning_extract.victims.recipe import describe_recipe

# What a training finds out: it does not tell two recipes apart.
RESULTS = {"steps": None, "selection": None}


class VictimData(Protocol):
    """What a training asks of its data module."""

    @property
    def dataset(self) -> str:
        """Name or folder of the data set."""
        ...

    @property
    def batch_size(self) -> int:
        """Samples a training batch, over all processes."""
        ...

    @property
    def validation_share(self) -> float:
        """Share of the training samples that is kept apart to select by."""
        ...

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        ...

    @property
    def test_set(self) -> BatchIndexed[tuple[Any, Tensor]]:
        """The test samples."""
        ...


class ClassifierTraining(LightningModule, ABC):
    """Trains a classifier with labels and writes its final or its best weights, with its card.

    Random draws of an epoch hang on (seed, epoch, rank), so a run that resumes at an epoch equals one that was never
    interrupted.

    Args:
        classifier: The network that learns.
        network: Its name.
        num_classes: Number of classes of the data.
        victim_dir: Folder to write the victim to.
        dropout: Probability of the network's dropout layers; the network's own when not given.
        patience: Epochs without a better validation accuracy before training stops, and the best weights are written;
            the final ones when not given.
        optimizer: Of the network's weights.
        lr_scheduler: Of the learning rate; constant when not given.
        lr_interval: Step the scheduler once an epoch or once a step.
        overwrite: Replace another victim in victim_dir.
    """

    def __init__(
        self,
        classifier: nn.Module,
        network: str,
        num_classes: int,
        victim_dir: str,
        dropout: float | None,
        patience: int | None,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        lr_interval: Literal["epoch", "step"],
        overwrite: bool,
    ) -> None:
        super().__init__()
        if dropout is not None:
            set_dropout(classifier, dropout)
        self.classifier, self.network_name, self.num_classes = classifier, network, num_classes
        self.victim_dir, self.overwrite = Path(victim_dir), overwrite
        self.dropout = dropout
        self.best = None if patience is None else BestWeights(patience)
        self._optimizer, self._lr_scheduler, self._lr_interval = optimizer, lr_scheduler, lr_interval
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")

    @property
    @abstractmethod
    def data(self) -> VictimData:
        """The data module; raises InputError when it is another than this training's."""

    @abstractmethod
    def encode(self, samples: Any) -> Tensor:
        """What the classifier takes of samples."""

    @abstractmethod
    def loss(self, samples: Any, labels: Tensor) -> Tensor:
        """What an optimizer step makes smaller."""

    @abstractmethod
    def own_recipe(self) -> dict[str, Any]:
        """What the card tells of this kind of training alone."""

    @abstractmethod
    def save(self, network: nn.Module, test_accuracy: float, recipe: dict[str, Any]) -> None:
        """Writes the victim."""

    def describe_missing(self, fitting: bool = True) -> list[str]:
        """What must be put in place before training can start, a sentence each; nothing but the data's own files."""
        return []

    def forward(self, samples: Any) -> Tensor:
        """Logits of samples."""
        logits: Tensor = self.classifier(self.encode(samples))
        return logits

    def configure_optimizers(self) -> OptimizerLRScheduler:
        try:
            optimizer = self._optimizer(self.classifier.parameters())
            scheduler = None if self._lr_scheduler is None else self._lr_scheduler(optimizer)
        except (TypeError, ValueError) as error:
            raise InputError(f"the optimizer or scheduler of the config cannot be made: {error}") from error
        period = getattr(scheduler, "T_max", None)
        if period is not None and self._lr_interval == "epoch" and period != self.trainer.max_epochs:
            raise InputError(
                f"the cosine schedule ends after {period} epochs, the training after {self.trainer.max_epochs}; "
                "give T_max and trainer.max_epochs the same value"
            )
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": self._lr_interval}}

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.trainer.world_size > 1:
            synchronise_batch_norm(self, self.trainer.strategy.root_device.type)

    def on_fit_start(self) -> None:
        data = self.data
        if self.num_classes != data.num_classes:
            raise InputError(
                f"the victim's num_classes is {self.num_classes}, that of data set {data.dataset} is "
                f"{data.num_classes}; give both the same"
            )
        if self.best is not None and data.validation_share == 0:
            raise InputError(
                f"patience is {self.best.patience}, but no training samples are kept apart to select by; set the "
                "data's validation_share, as 0.2, or patience to null"
            )
        self._refuse_another_victim()
        if self.best is not None and self.best.exhausted:
            self.trainer.should_stop = True  # a run that had stopped and is started again trains no further

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(mix_seed(mix_seed(run_seed(), self.current_epoch), self.global_rank))

    def training_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(*batch)
        self.log(
            "train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=len(batch[1])
        )
        return loss

    def validation_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> None:
        self._evaluate(batch, "validation_accuracy" if self.data.validation_share else "accuracy")

    def on_validation_epoch_end(self) -> None:
        """Takes note of the validation accuracy, and asks the trainer to stop when the patience is at its end."""
        if self.best is None or self.trainer.state.fn != "fit" or self.trainer.sanity_checking:
            return
        self.best.observe(self.accuracy.compute().item(), self.current_epoch, self.classifier)
        self.trainer.should_stop = self.trainer.should_stop or self.best.exhausted

    def test_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> None:
        self._evaluate(batch, "accuracy")

    def predict_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> Tensor:
        """Class probabilities ``(B, K)``."""
        logits: Tensor = self(batch[0])
        return logits.softmax(dim=1)

    def on_test_start(self) -> None:
        """Evaluates the weights that a victim would be written with."""
        if self.best is not None and self.best.weights:
            self.classifier.load_state_dict(self.best.weights)

    def on_predict_start(self) -> None:
        """The same."""
        self.on_test_start()

    def on_train_end(self) -> None:
        self._write_victim()

    def on_fit_end(self) -> None:
        # A run that resumes after its last epoch trains nothing, so on_train_end did not come.
        if not (self.victim_dir / CARD_FILE).exists():
            self._write_victim()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the best weights and when they were found."""
        if self.best is not None:
            checkpoint["selection"] = self.best.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores them."""
        if self.best is not None and "selection" in checkpoint:
            self.best.load_state_dict(checkpoint["selection"])

    def _evaluate(self, batch: tuple[Any, Tensor], name: str) -> None:
        samples, labels = batch
        self.accuracy(self(samples), labels)
        self.log(name, self.accuracy, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(labels))

    def _refuse_another_victim(self) -> None:
        if not (self.victim_dir / CARD_FILE).exists() or self.overwrite:
            return
        card = read_card(self.victim_dir)
        there = {"network": card.network, "dataset": card.dataset, **card.recipe, **RESULTS}
        wanted = {"network": self.network_name, "dataset": self.data.dataset, **self._recipe(), **RESULTS}
        differing = [name for name in wanted | there if there.get(name) != wanted.get(name)]
        if differing:
            raise InputError(
                f"{self.victim_dir} holds another victim (it differs in {', '.join(differing)}); give another "
                "victim_dir, or replace it with --model.init_args.overwrite true"
            )

    def _write_victim(self) -> None:
        if not self.trainer.is_global_zero or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        network = self.classifier
        results: dict[str, Any] = {"steps": self.trainer.global_step}
        if self.best is not None:
            if not self.best.weights:
                raise InputError("patience is given, but no epoch was evaluated; remove trainer.limit_val_batches")
            network = deepcopy(network)
            network.load_state_dict(self.best.weights)
            results["selection"] = {"epoch": self.best.epoch, "validation_accuracy": self.best.accuracy}
        accuracy = measure_accuracy(network, self.encode, self.data.test_set, self.device)
        self.save(network, accuracy, {**self._recipe(), **results})

    def _recipe(self) -> dict[str, Any]:
        own = {
            "dropout": self.dropout,
            "patience": None if self.best is None else self.best.patience,
            "validation_share": self.data.validation_share or None,
        }
        return {
            "epochs": self.trainer.max_epochs,
            "batch_size": self.data.batch_size,
            **self.own_recipe(),
            **{name: value for name, value in own.items() if value is not None},
            "precision": str(self.trainer.precision),
            "seed": run_seed(),
            **describe_recipe(self.optimizers(use_pl_optimizer=False), self.lr_schedulers()),
        }
