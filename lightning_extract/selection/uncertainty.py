"""Samples of which the clone is least sure."""

from torch import Tensor
from torch.special import entr

from .candidates import Candidates, check_count


def select_uncertain(candidates: Candidates, among: Tensor, count: int) -> Tensor:
    """Takes the highest entropies ``-sum_k p_k log p_k`` of the clone's outputs, the highest first.

    Reference:
        Pal et al., ActiveThief, AAAI 2020, uncertainty strategy.

    Args:
        candidates: The unbought samples.
        among: Indices to choose from; of equal entropies the first is taken.
        count: Number to choose.

    Shape:
        ``(a,)`` to ``(count,)``.

    Raises:
        InputError: There are fewer samples than are to be chosen.
    """
    check_count(among, count)
    # In float32 the sum of saturated outputs loses the terms that tell them apart.
    entropies = entr(candidates.probabilities.cpu()[among].double()).sum(dim=1)
    return among[entropies.argsort(descending=True, stable=True)[:count]]
