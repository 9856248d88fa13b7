"""What a pool attack has bought: positions in the pool, and the victim's answers."""

from pathlib import Path

import torch
from torch import Tensor

from lightning_extract.data.segments import checksum, read_segments, write_segment
from lightning_extract.errors import InputError


class BoughtAnswers:
    """Answers of the victim to samples of a pool, in the order of their purchase, the same on every process.

    Args:
        name: What they are for: the folder below ``bought`` of the run folder, where they lie beside the checkpoints.

    Attributes:
        positions: Where the samples stand in the pool, ``(N,)``, on the CPU.
        answers: Probabilities ``(N, K)`` or labels ``(N,)``, on the training device.
    """

    def __init__(self, name: str) -> None:
        self.name = name
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

    def save(self, run_dir: str | Path) -> None:
        """Writes what came since the last call; one checkpoint may be written to several files."""
        if len(self) > self._saved:
            write_segment(
                self._folder(run_dir), self._saved, {name: rows[self._saved :] for name, rows in self._rows.items()}
            )
            self._saved = len(self)

    def state(self) -> dict[str, int]:
        """What a checkpoint must know of what :meth:`save` has written."""
        return {"count": len(self), "checksum": checksum(self._rows)}

    def load(self, run_dir: str | Path, state: dict[str, int], device: torch.device) -> None:
        """Restores what a checkpoint knows onto a device.

        Raises:
            InputError: The folder lacks some of it, or it is damaged or of another run.
        """
        self.positions, self.answers, self._saved = self.positions[:0], None, state["count"]
        folder = self._folder(run_dir)
        for segment in read_segments(folder, 0, state["count"]):
            self.add(segment.rows["positions"], segment.rows["answers"].to(device))
        if self.state() != state:
            raise InputError(f"{folder} holds other samples than the checkpoint; restore it or start a new run folder")

    def _folder(self, run_dir: str | Path) -> Path:
        return Path(run_dir) / "bought" / self.name

    @property
    def _rows(self) -> dict[str, Tensor]:
        answers = {} if self.answers is None else {"answers": self.answers.cpu()}
        return {"positions": self.positions} | answers
