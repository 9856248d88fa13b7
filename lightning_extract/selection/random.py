"""The baseline: any samples."""

import torch
from torch import Tensor

from .candidates import Candidates, check_count


def select_random(candidates: Candidates, among: Tensor, count: int) -> Tensor:
    """Draws uniformly without replacement.

    Reference:
        Pal et al., ActiveThief, AAAI 2020, random strategy.

    Args:
        candidates: The unbought samples, of which the generator alone is used.
        among: Indices to choose from.
        count: Number to choose.

    Shape:
        ``(a,)`` to ``(count,)``.

    Raises:
        InputError: There are fewer samples than are to be chosen.
    """
    check_count(among, count)
    return among[torch.randperm(len(among), generator=candidates.draws)[:count]]
