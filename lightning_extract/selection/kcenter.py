"""Samples that cover what the clone's outputs have not yet covered."""

import torch
from torch import Tensor

from .candidates import Candidates, check_count

# Distances in a block, 512 KB: smaller blocks cost calls, larger ones leave the cache of a CPU; ours.
PAIRS = 2**16


def select_kcenter(candidates: Candidates, among: Tensor, count: int) -> Tensor:
    """Takes again and again the sample farthest from its nearest centre, which then is a centre itself.

    Points and centres are the clone's softmax outputs. The distances to the centres are computed once; each choice
    then lowers them by the distances to the chosen point. Without any centre the first of ``among`` is taken first.

    Reference:
        Sener and Savarese, ICLR 2018, algorithm 1; Pal et al., ActiveThief, AAAI 2020, K-center strategy.

    Deviations:
        A chosen point is never chosen again. The official code can take it twice when no point has a distance left,
        and then buys fewer samples.

    Args:
        candidates: The unbought samples and the centres.
        among: Indices to choose from; of equal distances the first is taken.
        count: Number to choose.

    Shape:
        ``(a,)`` to ``(count,)``.

    Raises:
        InputError: There are fewer samples than are to be chosen.
    """
    check_count(among, count)
    outputs = candidates.probabilities[among.to(candidates.probabilities.device)]
    # In float32 the distances of saturated outputs round to equal ones, and other points are chosen.
    points, centres = (vectors.double().T.contiguous() for vectors in (outputs, candidates.centres))
    nearest = points.new_full((len(among),), torch.inf)
    # Memory of the blocks, allocated once: returned and asked for again, it could cost half of the time.
    work = points.new_empty(2, max(PAIRS, centres.shape[1]))
    _lower(nearest, points, centres, work)
    chosen = []
    for _ in range(count):
        # The choice stays a tensor: reading it would make a GPU wait at every one.
        choice = nearest.argmax().view(1)
        chosen.append(choice)
        _lower(nearest, points, points.index_select(1, choice), work)
        nearest.index_fill_(0, choice, -1.0)
    return among[torch.cat(chosen).cpu()]


def _lower(nearest: Tensor, points: Tensor, centres: Tensor, work: Tensor) -> None:
    """Lowers squared distances ``(a,)`` of points ``(K, a)`` to their nearest centre, given more centres ``(K, m)``."""
    count = centres.shape[1]
    if count == 0:
        return
    block = max(1, PAIRS // count)
    for start in range(0, len(nearest), block):
        part = nearest[start : start + block]
        squares, difference = (buffer[: len(part) * count].view(len(part), count) for buffer in work)
        squares.zero_()
        # By differences: expanded into products, the square is off by more than the smallest distances. Class by class,
        # without a fused multiplication: saturated outputs leave ties that another rounding would break differently.
        for values, centre in zip(points[:, start : start + block], centres, strict=True):
            torch.sub(values[:, None], centre, out=difference)
            squares += difference.square_()
        # fmin, since a clone that diverged has NaN outputs, and they must not bring a chosen point back.
        torch.fmin(part, squares.amin(dim=1), out=part)
