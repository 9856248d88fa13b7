"""Where a pool attack stands: its round, the epochs of its training, and the best weights of the round."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lightning_extract.attacks.rounds import EarlyStopping


class RoundState:
    """The training of one round after another, each ended by early stopping.

    Args:
        rules: When a round ends.

    Attributes:
        number: The round, from 0; -1 before the first.
        closed: Whether the round has ended, and the clones have its best weights.
        epochs: Epochs of this round so far.
        score: Score after the last epoch.
        best_score: Best score of the round.
        stale: Epochs since then.
        best: The weights with that score.
        best_so_far: Whether no earlier round ended with a better score; their validation samples are the same.
    """

    def __init__(self, rules: EarlyStopping) -> None:
        self.rules = rules
        self.number, self.closed = -1, True
        self.best_so_far, self._best_of_rounds = False, -1.0
        self._forget()

    def _forget(self) -> None:
        self.epochs, self.stale, self.score, self.best_score = 0, 0, -1.0, -1.0
        self.best: dict[str, Tensor] = {}

    def open_next(self) -> None:
        """Begins the next round."""
        self.number, self.closed = self.number + 1, False
        self._forget()

    def note_epoch(self, score: float, loss: float, clones: nn.Module) -> None:
        """Counts an epoch and keeps the clones' weights if none before had such a score.

        Args:
            score: Validation score after the epoch.
            loss: Mean training loss of the epoch.
            clones: The clones after it.
        """
        self.score = score
        self.epochs += 1
        self.stale += 1
        if score > self.best_score:
            self.best_score, self.stale = score, 0
            self.best = {name: value.detach().clone() for name, value in clones.state_dict().items()}
        elif self.stale >= self.rules.patience and loss > (self.rules.restart_above or math.inf):
            self.stale = 0

    @property
    def exhausted(self) -> bool:
        """Whether the training of the round is over."""
        return self.epochs >= self.rules.epochs or self.stale >= self.rules.patience

    def close(self, clones: nn.Module) -> None:
        """Ends the round and gives the clones its best weights."""
        clones.load_state_dict(self.best)
        self.closed, self.best = True, {}
        self.best_so_far = self.best_score >= self._best_of_rounds
        self._best_of_rounds = max(self.best_score, self._best_of_rounds)

    def state_dict(self) -> dict[str, Any]:
        """All of it in plain types and tensors, for a checkpoint."""
        names = ("number", "closed", "epochs", "stale", "score", "best_score", "best", "best_so_far", "_best_of_rounds")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restores it onto a device."""
        for name, value in state.items():
            setattr(self, name, value)
        self.best = {name: value.to(device) for name, value in self.best.items()}
