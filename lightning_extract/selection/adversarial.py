"""Samples next to the clone's decision boundary."""

import torch
from torch import Tensor

from .candidates import Candidates, check_count


def select_adversarial(candidates: Candidates, among: Tensor, count: int) -> Tensor:
    """Takes the smallest squared distances to the decision boundary, the smallest first.

    Reference:
        Ducoffe and Precioso, DeepFool active learning (DFAL), 2018; Pal et al., ActiveThief, AAAI 2020.

    Args:
        candidates: The unbought samples; when their ``measured`` is given, so many of ``among``, but never fewer than
            ``count``, are drawn at random, and only these can be chosen.
        among: Indices to choose from; of equal distances the first is taken.
        count: Number to choose.

    Shape:
        ``(a,)`` to ``(count,)``.

    Raises:
        InputError: There are fewer samples than are to be chosen.
    """
    check_count(among, count)
    if candidates.measured is not None and (kept := max(count, candidates.measured)) < len(among):
        among = among[torch.randperm(len(among), generator=candidates.draws)[:kept].sort().values]
    distances = candidates.distances(among).cpu()
    return among[distances.argsort(stable=True)[:count]]
