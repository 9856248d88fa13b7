"""What a clone stage of DFMS buys: answers to learn from, and answers to validate by."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_extract.data.mixture import Mixture
from lightning_extract.data.replay import ReplayBuffer, ReplayDtype

Source = Literal["validation", "proxy", "generated"]
VALIDATION_BATCH = 500  # bounds the memory of a selection, changes no result


class BoughtSet:
    """Bought images with the victim's answers, in memory on every process, and on disk without being rewritten.

    Args:
        mixture: The images to train on.
        validation_size: The images to validate by.
        batch_size: Images of a purchase, over all processes.
        image_shape: Channels, height and width of an image.
        answer_shape: ``(K,)`` for probabilities, ``()`` for labels.
        dtype: How pixels are stored.
        seed: Of the order of the epochs.
        inherited: Whether another run has bought it.

    Attributes:
        purchases: Every purchase in its order, as its source, the number of that source's images before it, and its own
            number of images.
    """

    def __init__(
        self,
        mixture: Mixture,
        validation_size: int,
        batch_size: int,
        image_shape: tuple[int, int, int],
        answer_shape: tuple[int, ...],
        dtype: ReplayDtype,
        seed: int,
        inherited: bool = False,
    ) -> None:
        self.mixture, self.seed = mixture, seed
        self._new_buffer = partial(ReplayBuffer, image_shape=image_shape, answer_shape=answer_shape, dtype=dtype)
        self.training, self.validation = self._new_buffer(mixture.size), self._new_buffer(validation_size)
        sizes: dict[Source, int] = {
            "validation": validation_size,
            "proxy": mixture.proxy,
            "generated": mixture.generated,
        }
        self.purchases = [
            (source, start, min(batch_size, size - start))
            for source, size in sizes.items()
            for start in range(0, 0 if inherited else size, batch_size)
        ]
        self._order: tuple[int, Tensor, Tensor] | None = None

    @property
    def queries(self) -> int:
        """Answers that this run buys."""
        return sum(count for _, _, count in self.purchases)

    def add(self, source: Source, images: Tensor, answers: Tensor) -> None:
        """Stores a purchase, all processes' shares: images ``(B, C, H, W)``, answers ``(B, K)`` or ``(B,)``."""
        (self.validation if source == "validation" else self.training).add(images, answers)

    def positions(self, epoch: int, batch: int) -> list[int]:
        """The training images of a batch of an epoch, in an order that hangs on the seed and the epoch alone."""
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, *self.mixture.order(self.seed, epoch)
        return self.mixture.batch(*self._order[1:], batch)

    def forget_training(self) -> None:
        """Frees the memory of the training images when their stage has ended; on disk they stay."""
        self.training = self._new_buffer(0)

    def save(self, folder: Path) -> None:
        """Writes what came since the last call below a folder."""
        self.training.save(folder / "training")
        self.validation.save(folder / "validation")

    def state(self) -> dict[str, Any]:
        """How much is bought, for a checkpoint; the images lie beside it."""
        return {"training": self.training.added, "validation": self.validation.added}

    def load(self, folder: Path, state: dict[str, Any], for_training: bool) -> None:
        """Restores what a checkpoint knows.

        Args:
            folder: Where :meth:`save` wrote it.
            state: What :meth:`state` gave.
            for_training: Whether the training images are needed again, not only those to validate by.

        Raises:
            InputError: The folder lacks some of it.
        """
        if for_training:
            self.training.load(folder / "training", state["training"])
        self.validation.load(folder / "validation", state["validation"])

    def inherit(self, folder: Path) -> None:
        """Copies the images to validate by that another run wrote to a folder.

        Raises:
            InputError: The folder lacks some of them.
        """
        count = self.validation.size
        other = self._new_buffer(count)
        other.load(folder / "validation", count)
        self.validation.add(*other.read(list(range(count)), other.device))

    def validation_share(self, rank: int, world_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """The process's images to validate by and the victim's labels, in batches ``(B, C, H, W)`` and ``(B,)``."""
        positions = list(range(rank, len(self.validation), world_size))
        for start in range(0, len(positions), VALIDATION_BATCH):
            images, answers = self.validation.read(positions[start : start + VALIDATION_BATCH], device)
            yield images, answers if answers.ndim == 1 else answers.argmax(dim=1)
