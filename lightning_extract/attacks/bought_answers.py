"""What a pool attack has bought: positions in the pool, and the victim's answers."""

import torch
from torch import Tensor


class BoughtAnswers:
    """Answers of the victim to samples of a pool, in the order of their purchase, the same on every process.

    Attributes:
        positions: Where the samples stand in the pool, ``(N,)``, on the CPU.
        answers: Probabilities ``(N, K)`` or labels ``(N,)``, on the training device.
    """

    def __init__(self) -> None:
        self.positions = torch.empty(0, dtype=torch.int64)
        self.answers: Tensor | None = None

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

    def state_dict(self) -> dict[str, Tensor | None]:
        """Both, for a checkpoint."""
        return {"positions": self.positions, "answers": self.answers}

    def load_state_dict(self, state: dict[str, Tensor | None], device: torch.device) -> None:
        """Restores them onto a device."""
        positions, answers = state["positions"], state["answers"]
        assert positions is not None
        self.positions, self.answers = positions.cpu(), None if answers is None else answers.to(device)
