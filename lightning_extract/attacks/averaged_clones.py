"""Clones beside their moving averages, and the choice among them by bought answers."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_extract.errors import InputError
from lightning_extract.functional.distributed import all_reduce_sum
from lightning_extract.networks import CloneEnsemble, MovingAverage


class AveragedClones(nn.Module):
    """Exponential moving averages of the clones' weights and batch statistics, one for each momentum.

    Reference:
        Sanyal et al., DFMS, CVPR 2022, official code: updated in every iteration, over the whole state.

    Args:
        clones: What is averaged.
        momenta: Share of the old average in the new, of each average; the first update copies.

    Attributes:
        chosen: The average that answered best at the last selection; -1 stands for the clones themselves.
        best_score: Class-balanced agreement of the best weights since the last restart.
        best: Those weights; empty before the first selection.

    Raises:
        InputError: A momentum is not in [0, 1).
    """

    def __init__(self, clones: CloneEnsemble, momenta: Sequence[float]) -> None:
        super().__init__()
        for momentum in momenta:
            if not 0 <= momentum < 1:
                raise InputError(f"averages are {list(momenta)}; give momenta of at least 0 and below 1")
        self.momenta = tuple(momenta)
        self.averages = nn.ModuleList(MovingAverage(clones, momentum) for momentum in momenta)
        self.restart()

    def restart(self) -> None:
        """Forgets the averages and the best weights."""
        self.chosen, self.best_score = -1, 0.0
        self.best: dict[str, Tensor] = {}
        for average in self._models:
            average.restart()

    def update_parameters(self, clones: CloneEnsemble) -> None:
        """Takes the clones of this iteration into every average."""
        for average in self._models:
            average.update_parameters(clones)

    @torch.no_grad()
    def select(
        self,
        clones: CloneEnsemble,
        validation: Callable[[], Iterable[tuple[Tensor, Tensor]]],
        predict: Callable[[Tensor], Tensor],
        num_classes: int,
    ) -> dict[str, Tensor]:
        """Chooses among clones and averages by the mean of the classes' recalls, and keeps the best so far.

        Args:
            clones: The clones as they are today.
            validation: This process's share of images ``(B, C, H, W)`` and the victim's labels ``(B,)``, in batches.
            predict: From logits ``(S, B, K)`` to labels ``(B,)``.
            num_classes: K.

        Returns:
            Metrics: the best score of today, the momentum that it belongs to, and whether none before was better.
        """
        updated = [position for position, average in enumerate(self._models) if average.begun]
        candidates = [-1, *updated]
        weight = next(clones.parameters())
        hits = torch.zeros(len(candidates), num_classes, device=weight.device)
        support = torch.zeros(num_classes, device=weight.device)
        models = [self.model(clones, candidate).eval() for candidate in candidates]
        for images, labels in validation():
            support += labels.bincount(minlength=num_classes)
            for found, model in zip(hits, models, strict=True):
                right = predict(model(images.to(weight.dtype))) == labels
                found += labels[right].bincount(minlength=num_classes)
        # A class that the victim never gave is 0 / 0 and left out.
        recalls = all_reduce_sum(hits) / all_reduce_sum(support)
        scores = recalls.nanmean(dim=1)
        best_today = int(scores.argmax())
        self.chosen, score = candidates[best_today], float(scores[best_today])
        improved = not self.best or score >= self.best_score
        if improved:
            self.best_score = score
            self.best = {name: value.clone() for name, value in models[best_today].state_dict().items()}
        momentum = 0.0 if self.chosen < 0 else self.momenta[self.chosen]
        values = {"heldout_agreement": score, "heldout_best": float(improved), "heldout_momentum": momentum}
        return {name: torch.tensor(value) for name, value in values.items()}

    def model(self, clones: CloneEnsemble, candidate: int | None = None) -> nn.Module:
        """A candidate, by default the chosen one: the clones or one of the averages."""
        candidate = self.chosen if candidate is None else candidate
        return clones if candidate < 0 else self._models[candidate].module

    @property
    def _models(self) -> list[MovingAverage]:
        return [average for average in self.averages if isinstance(average, MovingAverage)]

    def selection_state(self) -> dict[str, Any]:
        """What was selected, for a checkpoint; the averages themselves are parameters."""
        return {"chosen": self.chosen, "best_score": self.best_score, "best": self.best}

    def load_selection_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Restores it onto a device."""
        self.chosen, self.best_score = state["chosen"], state["best_score"]
        self.best = {name: value.to(device) for name, value in state["best"].items()}
