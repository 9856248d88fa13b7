"""Training of a victim."""

from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR
from torchmetrics.classification import MulticlassAccuracy

from lightning_extract.data.draws import mix_seed
from lightning_extract.data.image_data import ImageData
from lightning_extract.data.seeds import run_seed
from lightning_extract.errors import InputError
from lightning_extract.networks import build_classifier, synchronise_batch_norm
from lightning_extract.victims.accuracy import Normalise, measure_accuracy
from lightning_extract.victims.augmentation import random_crop, random_horizontal_flip
from lightning_extract.victims.card import CARD_FILE, check_normalisation
from lightning_extract.victims.loading import read_card, save_victim
from lightning_extract.victims.recipe import describe_recipe


class VictimTraining(LightningModule):
    """Trains a classifier with labels and writes its final weights and card.

    The test accuracy is logged each epoch and chooses nothing. Random draws of an epoch hang on (seed, epoch, rank), so
    a run that resumes at an epoch equals one that was never interrupted.

    Reference:
        Defaults: Fang et al., Data-Free Adversarial Distillation, official ``train_teacher.py``, where the victims of
        DFME and DisGUIDE come from.

    *Deviations*: cosine instead of that code's optional step schedule; final instead of best-on-test weights.

    Args:
        network: Name of the victim's network, one of networks.CLASSIFIERS: resnet34_8x, resnet20, lenet5, cnn_3_2, ...
        num_classes: Number of classes of the data.
        mean: Channel means of the data, of images in [0, 1].
        std: Channel deviations of the same.
        victim_dir: Folder to write the victim to.
        channels: 1 (grey) or 3 (colour).
        image_size: Height and width in pixels.
        crop_padding: Pixels of black added on each side before a random crop; 0 switches it off.
        horizontal_flip: Mirror every second image at random.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        optimizer: Of the network's weights.
        lr_scheduler: Of the learning rate.
        lr_interval: Step the scheduler once an epoch or once a step.
        overwrite: Replace another victim in victim_dir.

    Raises:
        InputError: An argument does not fit the network or the data, or victim_dir holds another victim.
    """

    def __init__(
        self,
        network: str,
        num_classes: int,
        mean: list[float],
        std: list[float],
        victim_dir: str,
        channels: int = 3,
        image_size: int = 32,
        crop_padding: int = 4,
        horizontal_flip: bool = True,
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4),
        lr_scheduler: LRSchedulerCallable = lambda optimizer: CosineAnnealingLR(optimizer, T_max=200),
        lr_interval: Literal["epoch", "step"] = "epoch",
        overwrite: bool = False,
    ) -> None:
        super().__init__()
        check_normalisation(tuple(mean), tuple(std), channels)
        if crop_padding < 0:
            raise InputError(f"crop_padding is {crop_padding}, it must be at least 0 pixels")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing is {label_smoothing}, it must lie in [0, 1)")
        self.network_name = network
        self.num_classes, self.channels, self.image_size = num_classes, channels, image_size
        self.mean, self.std = tuple(mean), tuple(std)
        self.victim_dir = Path(victim_dir)
        self.crop_padding, self.horizontal_flip = crop_padding, horizontal_flip
        self.label_smoothing = label_smoothing
        self.overwrite = overwrite
        self._optimizer, self._lr_scheduler, self._lr_interval = optimizer, lr_scheduler, lr_interval
        # Faster for convolutions, most of all in bfloat16 (1.4 times for cnn_3_2 on one CPU core).
        self.classifier = build_classifier(network, num_classes, channels, image_size).to(
            memory_format=torch.channels_last
        )
        self.normalise = Normalise(self.mean, self.std)
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")

    def describe_missing(self) -> list[str]:
        """Nothing: a training needs no files but its data."""
        return []

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images in [-1, 1]."""
        logits: Tensor = self.classifier(self.normalise(images))
        return logits

    def configure_optimizers(self) -> OptimizerLRScheduler:
        try:
            optimizer = self._optimizer(self.classifier.parameters())
            scheduler = self._lr_scheduler(optimizer)
        except (TypeError, ValueError) as error:
            raise InputError(f"the optimizer or scheduler of the config cannot be made: {error}") from error
        period = getattr(scheduler, "T_max", None)
        if period is not None and self._lr_interval == "epoch" and period != self.trainer.max_epochs:
            raise InputError(
                f"the cosine schedule ends after {period} epochs, the training after {self.trainer.max_epochs}; "
                "give T_max and trainer.max_epochs the same value"
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": self._lr_interval}}

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.trainer.world_size > 1:
            synchronise_batch_norm(self, self.trainer.strategy.root_device.type)

    def on_fit_start(self) -> None:
        data = self._data()
        for name in ("num_classes", "channels", "image_size"):
            if getattr(self, name) != getattr(data, name):
                raise InputError(
                    f"the victim's {name} is {getattr(self, name)}, that of data set {data.dataset} is "
                    f"{getattr(data, name)}; give both the same"
                )
        if (self.victim_dir / CARD_FILE).exists() and not self.overwrite:
            card = read_card(self.victim_dir)
            there = {"network": card.network, "dataset": card.dataset, **card.recipe, "steps": None}
            wanted = {"network": self.network_name, "dataset": data.dataset, **self._recipe(), "steps": None}
            differing = [name for name in wanted | there if there.get(name) != wanted.get(name)]
            if differing:
                raise InputError(
                    f"{self.victim_dir} holds another victim (it differs in {', '.join(differing)}); give another "
                    "victim_dir, or replace it with --model.init_args.overwrite true"
                )

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(mix_seed(mix_seed(run_seed(), self.current_epoch), self.global_rank))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        if self.crop_padding:
            images = random_crop(images, self.crop_padding)
        if self.horizontal_flip:
            images = random_horizontal_flip(images)
        loss = cross_entropy(self(images), labels, label_smoothing=self.label_smoothing)
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(batch)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Class probabilities ``(B, K)``."""
        logits: Tensor = self(batch[0])
        return logits.softmax(dim=1)

    def on_train_end(self) -> None:
        self._write_victim()

    def on_fit_end(self) -> None:
        # A run that resumes after its last epoch trains nothing, so on_train_end did not come.
        if not (self.victim_dir / CARD_FILE).exists():
            self._write_victim()

    def _evaluate(self, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = batch
        self.accuracy(self(images), labels)
        self.log("accuracy", self.accuracy, on_step=False, on_epoch=True, prog_bar=True)

    def _write_victim(self) -> None:
        if not self.trainer.is_global_zero or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        data = self._data()
        save_victim(
            self.victim_dir,
            self.classifier,
            network=self.network_name,
            num_classes=self.num_classes,
            channels=self.channels,
            image_size=self.image_size,
            dataset=data.dataset,
            mean=self.mean,
            std=self.std,
            test_accuracy=measure_accuracy(self.classifier, self.normalise, data.test_set, self.device),
            recipe={**self._recipe(), "steps": self.trainer.global_step},
        )

    def _recipe(self) -> dict[str, Any]:
        return {
            "epochs": self.trainer.max_epochs,
            "batch_size": self._data().batch_size,
            "crop_padding": self.crop_padding,
            "horizontal_flip": self.horizontal_flip,
            "label_smoothing": self.label_smoothing,
            "precision": str(self.trainer.precision),
            "seed": run_seed(),
            **describe_recipe(self.optimizers(use_pl_optimizer=False), self.lr_schedulers()),
        }

    def _data(self) -> ImageData:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, ImageData):
            raise InputError("a victim is trained with the data module ImageData; give it as data.class_path")
        return data
