"""Strategies one after the other: each narrows down what the next one chooses from."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lightning_extract.errors import InputError

from .adversarial import select_adversarial
from .candidates import Candidates, Strategy, check_count
from .kcenter import select_kcenter
from .random import select_random
from .uncertainty import select_uncertain

StrategyName = Literal["random", "uncertainty", "kcenter", "adversarial"]
STRATEGIES: dict[StrategyName, Strategy] = {
    "random": select_random,
    "uncertainty": select_uncertain,
    "kcenter": select_kcenter,
    "adversarial": select_adversarial,
}


def select(candidates: Candidates, strategies: Sequence[StrategyName], count: int, survivors: int) -> Tensor:
    """Chooses the samples that a round buys.

    A strategy that all candidates would survive is skipped.

    Reference:
        Pal et al., ActiveThief, AAAI 2020: adversarial, then K-center, with as many survivors as the query budget.

    Args:
        candidates: The unbought samples.
        strategies: In their order; the last one chooses, the others filter.
        count: Number of samples to choose.
        survivors: Samples that each filter keeps, at most all and at least ``count``.

    Shape:
        Returns indices of candidates ``(count,)``, distinct, in the order of choice, int64 on the CPU.

    Raises:
        InputError: No strategy is given or one is unknown, or there are fewer samples than are to be chosen.

    Example:
        >>> from lightning_extract.selection import KnownCandidates
        >>> one_hot = torch.eye(3)[[0, 1, 2, 2]]
        >>> candidates = KnownCandidates(one_hot, one_hot[:1], torch.Generator(), distances=lambda i: i.float())
        >>> select(candidates, ["adversarial", "kcenter"], count=2, survivors=3)
        tensor([1, 2])
    """
    unknown = [name for name in strategies if name not in STRATEGIES]
    if unknown or not strategies:
        raise InputError(f"the strategies are {list(strategies)}; give one or more of {', '.join(STRATEGIES)}")
    among = torch.arange(candidates.size)
    check_count(among, count)
    kept = max(count, survivors)
    for name in strategies[:-1]:
        if kept < len(among):
            among = STRATEGIES[name](candidates, among, kept).sort().values
    return STRATEGIES[strategies[-1]](candidates, among, count)
