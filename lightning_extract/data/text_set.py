"""Labelled sentences in memory."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_extract.errors import InputError


@dataclass(frozen=True, eq=False)
class TextSet:
    """One split of a data set of texts.

    Args:
        sentences: Raw texts.
        labels: Class indices, int64.
        classes: Class names.

    Shape:
        labels ``(N,)`` for N sentences.

    Raises:
        InputError: There is no sentence, one is empty, or the labels do not belong to them.
    """

    sentences: list[str]
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.sentences:
            raise InputError("a set of texts needs at least one sentence; give one")
        empty = next((i for i, sentence in enumerate(self.sentences) if not sentence.strip()), None)
        if empty is not None:
            raise InputError(f"sentence {empty:,} of {len(self.sentences):,} is empty; remove it")
        if self.labels.dtype != torch.int64 or self.labels.shape != (len(self.sentences),):
            raise InputError(
                f"{len(self.sentences):,} sentences need as many int64 labels, got {self.labels.dtype} "
                f"{tuple(self.labels.shape)}"
            )
        lowest, highest = int(self.labels.min()), int(self.labels.max())
        if lowest < 0 or highest >= len(self.classes):
            raise InputError(f"labels from {lowest} to {highest} do not fit {len(self.classes)} classes (from 0)")

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def batch(self, indices: Tensor) -> tuple[list[str], Tensor]:
        """Sentences and labels at the given positions."""
        return [self.sentences[i] for i in indices.tolist()], self.labels[indices]

    def subset(self, indices: Tensor) -> "TextSet":
        """The sentences at the given positions, with all classes."""
        return TextSet(*self.batch(indices), self.classes)
