"""What a pool attack has bought: positions in the pool, and the victim's answers."""

from pathlib import Path

import torch
from torch import Tensor

from lightning_extract.data.segments import read_segments, write_segment


class BoughtAnswers:
    """Answers of the victim to samples of a pool, in the order of their purchase, the same on every process.

    Attributes:
        positions: Where the samples stand in the pool, ``(N,)``, on the CPU.
        answers: Probabilities ``(N, K)`` or labels ``(N,)``, on the training device.
    """

    def __init__(self) -> None:
        self.positions = torch.empty(0, dtype=torch.int64)
        self.answers: Tensor | None = None
        self._saved = 0

    def __len__(self) -> int:
        return len(self.positions)

    def add(self, positions: Tensor, answers: Tensor) -> None:
        """Adds a purchase, in order."""
        self.positions = torch.cat([self.positions, positions])
        self.answers = answers if self.answers is None else torch.cat([self.answers, answers])

    def of(self, indices: Tensor) -> Tensor:
        """Answers by the number of their purchase, ``(n,)`` to ``(n, K)`` or ``(n,)``."""
        assert self.answers is not None
        return self.answers[indices.to(self.answers.device, non_blocking=True)]

    @property
    def labels(self) -> Tensor:
        """The victim's labels ``(N,)``."""
        assert self.answers is not None
        return self.answers if self.answers.ndim == 1 else self.answers.argmax(dim=1)

    def save(self, folder: Path) -> None:
        """Writes what came since the last call; one checkpoint may be written to several files."""
        if self.answers is not None and len(self) > self._saved:
            new = {"positions": self.positions[self._saved :], "answers": self.answers[self._saved :].cpu()}
            write_segment(folder, self._saved, new)
            self._saved = len(self)

    def load(self, folder: Path, count: int, device: torch.device) -> None:
        """Restores the first purchases onto a device; what was saved of later ones is deleted.

        Raises:
            InputError: The folder lacks some of them, or they are damaged.
        """
        for segment in read_segments(folder, 0, count):
            self.add(segment.rows["positions"], segment.rows["answers"].to(device))
        self._saved = count
