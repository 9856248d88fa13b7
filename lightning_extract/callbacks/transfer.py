"""How well evasion attacks that are crafted on the clone fool the victim."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import save
from torch import Tensor, nn
from torchmetrics.utilities.distributed import gather_all_tensors

from lightning_extract.attacks.base import ExtractionAttack
from lightning_extract.callbacks.transfer_file import TransferFile
from lightning_extract.errors import InputError

Classifier = Callable[[Tensor], Tensor]


class Measurement(Protocol):
    """What crafts and counts; the command line hands it over."""

    @property
    def samples(self) -> int:
        """How many images it asks for; 0 for all."""

    @property
    def seed(self) -> int:
        """Of the choice of images."""

    def run(
        self,
        clone: Classifier,
        victim: Classifier,
        images: Tensor,
        labels: Tensor,
        num_classes: int,
        rank: int,
        world_size: int,
        show: bool,
    ) -> list[dict[str, Any]]:
        """Measures the clone on images that the victim classifies correctly, the same on all processes."""


class TransferReport(Callback):
    """Measures transferability after ``test`` and writes it to ``transfer.json``.

    The attacker knows all of the clone and nothing of the victim, which judges through the oracle's free door.

    Args:
        measurement: The evasion attacks.
    """

    def __init__(self, measurement: Measurement) -> None:
        self.measurement = measurement
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self._seen = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Looks whether an earlier file can be continued, before anything is computed.

        Raises:
            InputError: It cannot, or the run is one on text.
        """
        if isinstance(pl_module, ExtractionAttack) and pl_module.threat_model.medium != "images":
            raise InputError("transfer.attacks move pixels, which the sentences of this victim have not; remove them")
        TransferFile(Path(trainer.default_root_dir)).read()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts with no image."""
        self._kept, self._seen = [], 0

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the images that the victim classifies correctly."""
        images, labels = batch
        # Of the test set in its order a process sees every world_size-th image.
        positions = torch.arange(self._seen, self._seen + len(images), device=images.device)
        self._seen += len(images)
        right = _victim(pl_module)(images).argmax(dim=1) == labels
        places = trainer.global_rank + trainer.world_size * positions[right]
        self._kept.append((places, images[right], labels[right]))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures on all processes and writes on the first.

        Raises:
            InputError: The victim classifies no image correctly.
        """
        assert isinstance(pl_module, ExtractionAttack)
        mine = [torch.cat(parts) for parts in zip(*self._kept, strict=True)]
        if trainer.world_size > 1:
            mine = [torch.cat(gather_all_tensors(part)) for part in mine]
        positions, images, labels = mine
        # Not the first ones: many test sets are sorted by class.
        rng = torch.Generator().manual_seed(self.measurement.seed)
        chosen = torch.randperm(len(positions), generator=rng)[: self.measurement.samples or None].sort().values
        chosen = positions.argsort()[chosen.to(positions.device)]
        if len(chosen) == 0:
            raise InputError("the victim classifies no test image correctly, so there is no answer to change")
        with _frozen(pl_module.clones):
            found = self.measurement.run(
                clone=lambda images: pl_module.clone_probabilities(pl_module.oracle.to_input_space(images)),
                victim=_victim(pl_module),
                images=images[chosen],
                labels=labels[chosen],
                num_classes=pl_module.num_classes,
                rank=trainer.global_rank,
                world_size=trainer.world_size,
                show=trainer.is_global_zero and trainer.progress_bar_callback is not None,
            )
        if trainer.is_global_zero:
            weights = sha256(save(pl_module.clones.state_dict())).hexdigest()
            TransferFile(Path(trainer.default_root_dir)).add(
                victim={
                    "name": pl_module.threat_model.victim,
                    "weights_sha256": pl_module.victim_card.weights_sha256,
                },
                clone={"queries": pl_module.ledger.spent, "weights_sha256": weights},
                evasions=found,
            )


def _victim(attack: LightningModule) -> Classifier:
    assert isinstance(attack, ExtractionAttack)
    return lambda images: attack.oracle.reference(attack.oracle.to_input_space(images))


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Batch statistics stay as they are, and no gradient reaches a weight."""
    training, trained = network.training, [weight for weight in network.parameters() if weight.requires_grad]
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        network.train(training)
        for weight in trained:
            weight.requires_grad_(True)
