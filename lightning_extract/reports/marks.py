"""What tells the parts of a run apart: the numbers of rounds and lines where stages begin."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes

from lightning_extract.reports.metrics_table import Curve

CLOSEST = 0.03  # share of the queries between two numbers of rounds


def number_rounds(axes: Axes, curves: Iterable[Curve]) -> None:
    """Numbers rounds along the top, if they lie at the same queries in all curves of more than one round."""
    places: dict[int, set[float]] = {}
    for queries, numbers, _ in (curve for curve in curves if len(curve.queries) > 1):
        for place, number in zip(queries, numbers, strict=True):
            places.setdefault(int(number), set()).add(float(place))
    if not places or any(len(queries) > 1 for queries in places.values()):
        return
    shown: dict[float, str] = {}
    apart = CLOSEST * max(max(queries) for queries in places.values())
    for number, (place,) in sorted(places.items()):
        if not shown or place - max(shown) >= apart:
            shown[place] = str(number)
    top = axes.secondary_xaxis("top")
    top.set_xticks(list(shown), list(shown.values()), fontsize="small")
    top.set_xlabel("round")
    top.tick_params(length=0)
    top.spines["top"].set_visible(False)


def draw_stages(axes: Axes, stages: Curve) -> None:
    """Draws thin vertical lines at the queries that were spent when a stage began; the first one began with none."""
    queries, numbers, _ = stages
    begins = np.unique(queries[:-1][np.diff(numbers) != 0])
    for place, begin in enumerate(begins):
        axes.axvline(begin, color="0.6", linewidth=1, linestyle=":", label=None if place else "a stage begins")
