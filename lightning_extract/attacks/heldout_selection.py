"""Selection of clones by bought answers that no clone trains on."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lightning_extract.data.heldout import HeldOutAnswers


class HeldOutSelection:
    """Keeps the weights that agree best with the answers set aside.

    Those answers grow in number, so that the best so far is scored anew on today's.

    Attributes:
        answers: What was set aside.
        best: The best clones' weights; empty before the first selection.
        best_outputs: How many of their outputs stood for classes known then; None for all.
    """

    def __init__(self) -> None:
        self.answers = HeldOutAnswers()
        self.best: dict[str, Tensor] = {}
        self.best_outputs: int | None = None

    def select(
        self, clones: nn.Module, predict: Callable[[Tensor], Tensor], outputs: int | None = None
    ) -> dict[str, Tensor]:
        """Scores the clones, keeps them when none before did better, and returns both as metrics.

        Args:
            clones: The ensemble as it is today.
            predict: From its output to the victim's labels, ``(S, B, outputs)`` to ``(B,)``.
            outputs: How many of its outputs stand for classes known today; all when not given.
        """
        today = dict(clones.state_dict())
        score = self._agreement(clones, today, predict, outputs)
        best = bool(not self.best or score >= self._agreement(clones, self.best, predict, self.best_outputs))
        if best:
            self.best_outputs = outputs
            self.best = {name: value.detach().clone() for name, value in today.items()}
        return {"heldout_agreement": score, "heldout_best": torch.tensor(float(best))}

    @torch.no_grad()
    def _agreement(
        self, clones: nn.Module, weights: dict[str, Tensor], predict: Callable[[Tensor], Tensor], outputs: int | None
    ) -> Tensor:
        dtype = next(clones.parameters()).dtype
        matches = []
        for samples, answers in self.answers.batches:
            labels = answers if answers.ndim == 1 else answers.argmax(dim=1)
            logits = functional_call(clones, weights, (samples.to(dtype),))[..., :outputs]
            matches.append(predict(logits) == labels)
        return torch.cat(matches).float().mean()

    def state_dict(self) -> dict[str, Any]:
        """Answers and weights, for a checkpoint."""
        return {"heldout": self.answers.state_dict(), "best_clones": self.best, "best_outputs": self.best_outputs}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restores them onto a device."""
        self.answers.load_state_dict(state["heldout"], device)
        self.best = {name: value.to(device) for name, value in state["best_clones"].items()}
        self.best_outputs = state["best_outputs"]
