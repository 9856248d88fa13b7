"""Speed of K-center against recomputing all distances for each choice; run with ``python -m tests.benchmarks.kcenter``.

CPU seconds. The slow way is timed for one choice, with the centres of the first one, and multiplied by the number of
choices.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_extract.selection import KnownCandidates, select_kcenter

POINTS, CENTRES, CLASSES, PICKS = 100_000, 10_000, 10, 2_000
LEAST_RATIO = 1_000
BLOCK = 10  # of points; larger ones were slower, since their differences leave the cache


def naive_choice(points: Tensor, centres: Tensor) -> Tensor:
    """Squared differences of all points and centres, summed over classes; the least a point, the largest of these."""
    nearest = [(some[:, None] - centres[None]).square().sum(dim=2).amin(dim=1) for some in points.split(BLOCK)]
    return torch.cat(nearest).argmax()


def library_choice(points: Tensor, centres: Tensor) -> Tensor:
    """The same by the library's distance function, in the precision of the fast way."""
    nearest = [
        torch.cdist(some, centres.double(), compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)
        for some in points.double().split(BLOCK)
    ]
    return torch.cat(nearest).argmax()


def seconds(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def main() -> int:
    torch.set_num_threads(1)
    draws = torch.Generator().manual_seed(0)
    points, centres = (
        torch.randn(count, CLASSES, generator=draws).mul(3).softmax(dim=1) for count in (POINTS, CENTRES)
    )
    candidates = KnownCandidates(points, centres, draws, distances=lambda indices: indices)
    fast, chosen = seconds(lambda: select_kcenter(candidates, torch.arange(POINTS), PICKS))
    print(f"{PICKS:,} choices from {POINTS:,} points with {CENTRES:,} centres, {CLASSES} classes, one thread")
    print(f"incremental: {fast:.2f} s")
    ratios = []
    for name, choice in (("naive", naive_choice), ("naive by torch.cdist in float64", library_choice)):
        slow, first = seconds(lambda choice=choice: choice(points, centres))
        if first != chosen[0]:
            print(f"{name}: another first choice, {int(first)} instead of {int(chosen[0])}")
            return 1
        ratios.append(slow * PICKS / fast)
        print(f"{name}: {slow:.2f} s a choice, {slow * PICKS:,.0f} s in all, {ratios[-1]:,.0f} times as long")
    return 0 if ratios[0] >= LEAST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
