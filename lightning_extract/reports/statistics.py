"""Means over seeds with their confidence intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from lightning_extract.errors import InputError
from lightning_extract.reports.metrics_table import Curve

CONFIDENCE = 0.95  # DisGUIDE, AAAI 2023, section 5.1: means with 95 % intervals


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Args:
        mean: The mean.
        half_width: Half the confidence interval; None for one seed, which tells nothing of its spread.
        count: How many seeds it rests on.
    """

    mean: float
    half_width: float | None
    count: int

    def percent(self, seeds: int | None = None) -> str:
        """A share of 1 in percent, ``81.00 ± 12.71``, with its count where it rests on fewer than all ``seeds``."""
        spread = "" if self.half_width is None else f" ± {100 * self.half_width:.2f}"
        count = "" if seeds in (None, self.count) else f" (n = {self.count})"
        return f"{100 * self.mean:.2f}{spread}{count}"


@dataclass(frozen=True)
class MeanCurve:
    """A metric against queries, averaged over seeds; ``half_widths`` is None for one seed."""

    queries: NDArray[np.float64]
    means: NDArray[np.float64]
    half_widths: NDArray[np.float64] | None
    count: int


def estimate(values: Iterable[float | None]) -> Estimate | None:
    """Mean and Student-t confidence interval of the values that exist.

    Returns:
        None where there is no value.

    Example:
        >>> result = estimate([1.0, 2.0, 3.0])
        >>> result.mean, round(result.half_width, 4), result.count
        (2.0, 2.4841, 3)
    """
    sample = np.array([value for value in values if value is not None], dtype=float)
    if sample.size == 0:
        return None
    mean = float(sample.mean())
    if sample.size == 1:
        return Estimate(mean, None, 1)
    return Estimate(mean, float(_half_widths(sample[:, None])[0]), sample.size)


def mean_curve(curves: Sequence[Curve], steps: bool = False) -> MeanCurve:
    """Averages seeds that were evaluated at different points.

    Each is followed over the union of all points inside the range that every seed covers. Points are iterations, so
    that what was learnt after the last purchase stays visible; where a seed does not tell them, they are queries.

    Args:
        curves: A curve of each seed.
        steps: Whether a value holds until the next one; otherwise values are interpolated linearly.

    Raises:
        InputError: The seeds have no range in common.
    """
    unit, clocks = "iterations", [curve.iterations for curve in curves if curve.iterations is not None]
    if len(clocks) < len(curves):
        unit, clocks = "queries", [curve.queries for curve in curves]
    start, end = max(clock[0] for clock in clocks), min(clock[-1] for clock in clocks)
    if start > end:
        raise InputError(
            f"no {unit} are covered by all seeds: one begins at {start:,.0f}, another ends at {end:,.0f}; "
            "report them apart"
        )
    points = np.unique(np.concatenate(clocks))
    points = points[(points >= start) & (points <= end)]
    pairs = list(zip(clocks, curves, strict=True))
    queries = np.stack([np.interp(points, clock, curve.queries) for clock, curve in pairs])
    if steps:
        values = np.stack([curve.values[np.searchsorted(clock, points, side="right") - 1] for clock, curve in pairs])
    else:
        values = np.stack([np.interp(points, clock, curve.values) for clock, curve in pairs])
    half_widths = _half_widths(values) if len(curves) > 1 else None
    return MeanCurve(queries.mean(axis=0), values.mean(axis=0), half_widths, len(curves))


def _half_widths(values: NDArray[np.float64]) -> NDArray[np.float64]:
    count = len(values)
    quantile = float(student_t.ppf((1 + CONFIDENCE) / 2, df=count - 1))
    deviations: NDArray[np.float64] = values.std(axis=0, ddof=1)
    return quantile * deviations / sqrt(count)
