"""DeepFool, which measures how far samples are from a clone's decision boundary."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_extract.errors import InputError

from .boundary_walk import BoundaryWalk

DeepFoolVariant = Literal["textbook", "official"]
# DeepFool's own code for the textbook, ActiveThief's code for the official variant.
STEPS: dict[DeepFoolVariant, int] = {"textbook": 50, "official": 20}
OVERSHOOT: dict[DeepFoolVariant, float] = {"textbook": 0.02, "official": 0.01}


@dataclass(frozen=True)
class DeepFool:
    """How DeepFool walks from a sample to the nearest decision boundary of the clone.

    Args:
        variant: As DeepFool's paper has it (textbook): on logits, until the label changes. Or as ActiveThief's code has
            it (official): on probabilities, always all steps, pixels clipped to [0, 1], and each step too short, by the
            length of a gradient, to be the distance to the linearised boundary.
        steps: Most steps of a sample; 50 for textbook (DeepFool's code) and 20 for official (ActiveThief's code) when
            not given. A sample that never crosses keeps the distance that it has reached.
        overshoot: Share by which the walked way is lengthened; 0.02 for textbook (DeepFool's code) and 0.01 for
            official (ActiveThief's code) when not given.
        classes: Most probable classes between which a boundary is looked for, the sample's own among them; all when
            not given, as in ActiveThief's code. DeepFool's own code takes 10.
        batch_size: Samples that walk at a time; decides memory and speed, not the distances. 256 is ours, for GPUs; on
            a CPU 32 took two thirds of the time.
        candidates: Measure at most so many unbought samples of a round, drawn at random; the others cannot be chosen.
            Bounds the time; all when not given, as in the paper.

    Raises:
        InputError: A value is out of its range.
    """

    variant: DeepFoolVariant = "textbook"
    steps: int | None = None
    overshoot: float | None = None
    classes: int | None = None
    batch_size: int = 256
    candidates: int | None = None

    def __post_init__(self) -> None:
        if self.variant not in get_args(DeepFoolVariant):
            raise InputError(
                f"deepfool.variant is {self.variant!r}; give one of {', '.join(get_args(DeepFoolVariant))}"
            )
        for name, least in (("steps", 1), ("classes", 2), ("batch_size", 1), ("candidates", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"deepfool.{name} is {value}; give a whole number from {least}")
        if self.overshoot is not None and not 0 <= self.overshoot < math.inf:
            raise InputError(f"deepfool.overshoot is {self.overshoot}; give a share from 0, such as 0.02")

    @property
    def step_limit(self) -> int:
        """Most steps of a sample."""
        return STEPS[self.variant] if self.steps is None else self.steps

    @property
    def stretch(self) -> float:
        """What the walked way is multiplied by."""
        return 1 + (OVERSHOOT[self.variant] if self.overshoot is None else self.overshoot)


def deepfool_distances(
    logits: Callable[[Tensor], Tensor],
    samples: Callable[[Tensor], Tensor],
    count: int,
    settings: DeepFool,
    on_done: Callable[[int], object] = lambda finished: None,
) -> Tensor:
    """Squared L2 distances ``||x - x_hat||^2`` from samples to the points where DeepFool has taken them.

    A fixed number of samples walks at a time: one that has arrived leaves its place to the next, so that no pass
    through the network is spent on finished samples. The victim is never asked.

    Reference:
        Moosavi-Dezfooli et al., DeepFool, CVPR 2016, algorithm 2; Pal et al., ActiveThief, AAAI 2020, adversarial
        strategy.

    Deviations:
        A sample whose label has no gradient against any other class, so that no boundary can be looked for, is
        infinitely far; DeepFool divides by zero there. The textbook variant does not clip pixels, as DeepFool.

    Args:
        logits: The clone in evaluation mode: pixels in [0, 1] ``(b, ...)`` to ``(b, K)``, with gradients.
        samples: From int64 indices on the CPU ``(b,)`` to those samples' pixels in [0, 1] ``(b, ...)``, on the device
            of the clone. The walk is computed in their precision, float32 or float64.
        count: Number of samples.
        settings: The variant and its numbers.
        on_done: Told how many more samples have arrived, as a progress bar's ``update`` is.

    Shape:
        Returns float32 ``(count,)`` on the CPU, in squares of pixels in [0, 1].

    Example:
        >>> logits = lambda pixels: pixels @ torch.tensor([[0.0, 2.0]]) - torch.tensor([0.0, 0.6])
        >>> samples = torch.tensor([[0.5], [1.0]])
        >>> deepfool_distances(logits, lambda indices: samples[indices], 2, DeepFool(overshoot=0.1))
        tensor([0.0484, 0.5929])
    """
    distances = torch.empty(count)
    walk = BoundaryWalk(logits, settings.variant == "official", settings.step_limit, settings.stretch, settings.classes)
    entered = 0
    while entered < count or len(walk):
        fresh = torch.arange(entered, min(count, entered + settings.batch_size - len(walk)))
        if len(fresh):
            walk.enter(fresh, samples(fresh))
            entered += len(fresh)
        arrived, found = walk.step()
        distances[arrived] = found.float()
        on_done(len(arrived))
    return distances
