"""Samples on their way to the nearest decision boundary."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import grad
from torch.linalg import vector_norm


class BoundaryWalk:
    """Takes DeepFool's steps with all samples that are under way; samples enter and leave between the steps.

    Args:
        logits: Samples ``(b, ...)`` to ``(b, K)``, with gradients.
        official: Whether the steps are those of ActiveThief's code, else DeepFool's.
        step_limit: Most steps of a sample.
        stretch: What the walked way is multiplied by.
        classes: Most probable classes between which a boundary is looked for; all when None.
    """

    def __init__(
        self,
        logits: Callable[[Tensor], Tensor],
        official: bool,
        step_limit: int,
        stretch: float,
        classes: int | None,
    ) -> None:
        self.logits, self.official = logits, official
        self.step_limit, self.stretch, self.classes = step_limit, stretch, classes
        # One row a sample: its index and number of steps, on the CPU; where it started and how far it went; its classes
        # from the most probable one, which is its label, known from its first step on.
        self._columns: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._columns[0]) if self._columns else 0

    def enter(self, indices: Tensor, samples: Tensor) -> None:
        """Adds samples ``(b, ...)`` with their indices ``(b,)``."""
        entering = [indices, torch.zeros_like(indices), samples, torch.zeros_like(samples)]
        if len(self):
            *walking, ranking = self._columns
            entering = [torch.cat(both) for both in zip(walking, entering, strict=True)]
        else:
            ranking = indices.new_empty(0)
        self._columns = [*entering, ranking]

    def step(self) -> tuple[Tensor, Tensor]:
        """Moves every sample by a step; indices ``(a,)`` and squared distances ``(a,)`` of those that leave."""
        indices, steps, start, way, ranking = self._columns
        here = self._stretched(start, way)
        with torch.enable_grad():
            here.requires_grad_()
            scores = self._scores(here)
            fresh = scores.detach()[len(ranking) :].argsort(dim=1, descending=True, stable=True)[:, : self.classes]
            ranking = torch.cat([ranking, fresh]) if len(ranking) else fresh
            move, lost = self._move(here, scores, ranking)
        way = way + move
        there = self._stretched(start, way)
        if self.official:
            # Past the boundary a sample without a gradient rests where it is.
            lost &= scores.argmax(dim=1) == ranking[:, 0]
            arrived = lost
        else:
            with torch.no_grad():
                arrived = lost | (self._scores(there).argmax(dim=1) != ranking[:, 0])
        steps = steps + 1
        leave = arrived.cpu() | (steps >= self.step_limit)
        squares = ((there - start) if self.official else self.stretch * way).flatten(1).square().sum(dim=1)
        distances = torch.where(lost, torch.inf, squares).cpu()[leave]
        stay = ~leave
        on_device = stay.to(start.device)
        self._columns = [indices[stay], steps[stay], *(column[on_device] for column in (start, way, ranking))]
        return indices[leave], distances

    def _stretched(self, start: Tensor, way: Tensor) -> Tensor:
        there = start + self.stretch * way
        return there.clamp(0, 1) if self.official else there

    def _scores(self, samples: Tensor) -> Tensor:
        logits = self.logits(samples)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits.softmax(dim=1) if self.official else logits

    def _move(self, here: Tensor, scores: Tensor, ranking: Tensor) -> tuple[Tensor, Tensor]:
        """The step to the nearest linearised boundary, and which samples see none."""
        gaps = scores.gather(1, ranking[:, 1:]) - scores.gather(1, ranking[:, :1])
        rivals = gaps.shape[1]
        nearest = gaps.new_full((len(here),), torch.inf)
        move = torch.zeros_like(here)
        shape = (-1, *[1] * (here.ndim - 1))
        # A pass a class took two thirds of the time of one batched pass for all, and a third of that of one pass
        # through a batch that repeats the samples (cnn_3_2, 256 images, CPU). Only the nearest class's gradient stays.
        for rival in range(rivals):
            (slope,) = grad(gaps[:, rival].sum(), here, retain_graph=rival + 1 < rivals)
            steepness = vector_norm(slope.flatten(1), dim=1)
            distance = gaps[:, rival].detach().abs() / steepness
            nearer = distance < nearest  # never where 0 / 0
            nearest = torch.where(nearer, distance, nearest)
            length = distance if self.official else distance / steepness
            move = torch.where(nearer.view(shape), (length.view(shape) * slope).to(here.dtype), move)
        return move, nearest.isinf()
