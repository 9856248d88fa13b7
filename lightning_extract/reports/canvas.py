"""What all plots share: colours, axes against queries and lines, without matplotlib's global state."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from lightning_extract.reports.statistics import MeanCurve

# Okabe and Ito, Color Universal Design, 2008: told apart with any colour vision. Pale yellow is left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
HATCHES = ("", "///", "...")  # tell bars apart when the colours begin again
WIDTH = 8.0  # inches
LEGEND_LETTERS = 104  # small ones, across this width
LEGEND_LINE = 0.18  # inches


@dataclass(frozen=True)
class Look:
    """How a metric is drawn.

    Args:
        low: Its least possible value.
        high: Its greatest.
        percent: Whether it is a share of 1 that reads better in percent.
        zero: Whether a line marks zero.
        steps: Whether it is a count that holds until it grows. Most of it grows with the first queries, so its
            queries are on a logarithmic scale.
    """

    low: float = -inf
    high: float = inf
    percent: bool = False
    zero: bool = False
    steps: bool = False


def look_of(metric: str) -> Look:
    """How a column of metrics.csv is drawn."""
    if "accuracy" in metric or "agreement" in metric:
        return Look(low=0, high=1, percent=True)
    if metric.startswith("gradient_cosine"):
        return Look(low=-1, high=1, zero=True)
    if metric == "classes_found":
        return Look(low=0, steps=True)
    return Look()


def new_figure(height: float = 4.8) -> Figure:
    """An empty figure, ``height`` inches high, to which axes are added."""
    figure = Figure(figsize=(WIDTH, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def prepare(axes: Axes, label: str, look: Look) -> None:
    """Labels axes whose x axis shows queries."""
    axes.set_ylabel(label.replace("_", " "))
    if look.steps:
        axes.set_xscale("log")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("queries (log scale)" if look.steps else "queries")
    axes.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
    if look.percent:
        axes.yaxis.set_major_formatter(_percent())
    if look.zero:
        axes.axhline(0, color="0.45", linewidth=1)
    axes.grid(color="0.9", linewidth=0.8)
    _tidy(axes)


def prepare_bars(axes: Axes, label: str) -> None:
    """Labels axes of bars whose heights are shares."""
    axes.set_ylabel(label)
    axes.yaxis.set_major_formatter(_percent())
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    _tidy(axes)


def _percent() -> PercentFormatter:
    return PercentFormatter(xmax=1, symbol="\N{NO-BREAK SPACE}%")


def _tidy(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", length=0)


def draw_mean(axes: Axes, curve: MeanCurve, label: str, index: int, look: Look, marked: bool = False) -> None:
    """Draws a line, its points marked if so wanted, and the band around it, in the ``index``-th colour."""
    colour, style = _pen(index)
    marker = "o" if marked or len(curve.queries) == 1 else None
    drawstyle = "steps-post" if look.steps else "default"
    axes.plot(
        curve.queries,
        curve.means,
        linestyle=style,
        color=colour,
        label=label,
        linewidth=1.8,
        marker=marker,
        markersize=4.5,
        drawstyle=drawstyle,
    )
    if curve.half_widths is not None:
        low, high = (
            np.clip(edge, look.low, look.high)
            for edge in (curve.means - curve.half_widths, curve.means + curve.half_widths)
        )
        axes.fill_between(
            curve.queries, low, high, step="post" if look.steps else None, color=colour, alpha=0.18, linewidth=0
        )


def draw_level(axes: Axes, curve: MeanCurve, index: int, look: Look) -> None:
    """Draws a curve of a single point as a level across the axes, to compare others with."""
    colour, style = _pen(index)
    (mean,) = curve.means
    axes.axhline(mean, color=colour, linestyle=style, linewidth=1.8)
    if curve.half_widths is not None:
        (spread,) = curve.half_widths
        axes.axhspan(max(mean - spread, look.low), min(mean + spread, look.high), color=colour, alpha=0.18, linewidth=0)


def _pen(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], LINE_STYLES[index // len(COLOURS) % len(LINE_STYLES)]


def draw_levels(axes: Axes, levels: dict[float, str]) -> None:
    """Draws horizontal dashed lines, each with its label."""
    for level, label in levels.items():
        axes.axhline(level, color="0.45", linewidth=1, linestyle=(0, (4, 3)), label=label)


def victim_accuracies(accuracies: Iterable[float]) -> dict[float, str]:
    """The levels of victims' accuracies, each once."""
    return {level: f"victim ({100 * level:.2f} %)" for level in sorted({round(value, 4) for value in accuracies})}


def victims_classes(totals: Iterable[int | None]) -> dict[float, str]:
    """The levels of victims' numbers of classes, as far as they are known, each once."""
    return {total: f"victim's {total} classes" for total in sorted({total for total in totals if total is not None})}


def legend_columns(labels: Iterable[str]) -> int:
    """Columns of a legend above a figure that its longest label leaves room for."""
    return max(1, min(4, LEGEND_LETTERS // (max(map(len, labels)) + 8)))


def save(figure: Figure, out: Path) -> None:
    """Sets limits and legends and writes the PNG."""
    for axes in figure.get_axes():
        _limit(axes)
        _, labels = axes.get_legend_handles_labels()
        if len(labels) > 4:
            columns = legend_columns(labels)
            figure.set_figheight(figure.get_figheight() + LEGEND_LINE * (len(labels) // columns))
            figure.legend(frameon=False, loc="outside upper center", ncols=columns, fontsize="small")
        else:
            axes.legend(frameon=False, loc="lower right" if _rises(axes) else "best")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Software": None})


def _rises(axes: Axes) -> bool:
    """Whether counts end high, so that nothing is below them at the right."""
    ends = [np.asarray(line.get_ydata())[-1] for line in axes.get_lines()]
    return axes.get_xscale() == "log" and min(ends) > axes.get_ylim()[1] / 2


def _limit(axes: Axes) -> None:
    if axes.get_xscale() == "linear":
        axes.set_xlim(left=0)
        return
    left, right = axes.get_xlim()
    ticks = LogLocator() if right > 1000 * left else LogLocator(subs=(1, 2, 5))
    axes.xaxis.set_major_locator(ticks if right > 10 * left else MaxNLocator(6))
    axes.xaxis.set_minor_formatter(NullFormatter())
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom=min(bottom, -0.05 * top))  # counts show their zero, with room below
