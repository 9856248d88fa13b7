"""Curves against queries, drawn without a display and without matplotlib's global state."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from lightning_extract.errors import InputError
from lightning_extract.reports.collect import Run, read_metrics
from lightning_extract.reports.statistics import MeanCurve, mean_curve

# Okabe and Ito, Color Universal Design, 2008: told apart with any colour vision. Pale yellow is left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")


def plot_groups(groups: Mapping[str, Sequence[Run]], metric: str, out: Path) -> list[str]:
    """Draws one line per experiment: the mean over seeds with its 95 % confidence band.

    Args:
        groups: The runs of each experiment.
        metric: A column of the metrics files.
        out: The PNG to write.

    Returns:
        The experiments left out, since a seed of them did not log the metric.

    Raises:
        InputError: No experiment logged the metric.
    """
    curves = {
        name: mean_curve([run.curves[metric] for run in group])
        for name, group in groups.items()
        if all(metric in run.curves for run in group)
    }
    if not curves:
        known = sorted({name for group in groups.values() for run in group for name in run.curves})
        raise InputError(f'no experiment logged "{metric}" in all its seeds; choose one of {", ".join(known)}')
    figure, axes = _canvas(metric, _is_share(metric))
    for index, (name, curve) in enumerate(curves.items()):
        _draw_mean(axes, curve, f"{name} (n = {curve.count})", index, _is_share(metric))
    if metric == "accuracy":
        _draw_victims(
            axes,
            sorted({round(run.summary["victim_accuracy"], 4) for name in curves for run in groups[name]}),
        )
    _save(figure, axes, out)
    return [name for name in groups if name not in curves]


def plot_run(metrics_csv: Path, out: Path, victim_accuracy: float | None = None) -> None:
    """Draws agreement and accuracy of one run.

    Args:
        metrics_csv: The run's metrics file.
        out: The PNG to write.
        victim_accuracy: Drawn as a horizontal line, in [0, 1].

    Raises:
        InputError: The file is broken or holds neither metric.
    """
    logged = read_metrics(metrics_csv)
    curves = {metric: logged[metric] for metric in ("agreement", "accuracy") if metric in logged}
    if not curves:
        raise InputError(f"{metrics_csv} holds neither agreement nor accuracy, so there is nothing to draw")
    figure, axes = _canvas("share of the test set", percent=True)
    for index, (metric, curve) in enumerate(curves.items()):
        _draw_mean(axes, MeanCurve(*curve, half_widths=None, count=1), metric, index, share=True)
    if victim_accuracy is not None:
        _draw_victims(axes, [victim_accuracy])
    _save(figure, axes, out)


def _is_share(metric: str) -> bool:
    return "accuracy" in metric or "agreement" in metric


def _canvas(label: str, percent: bool) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel("queries")
    axes.set_ylabel(label.replace("_", " "))
    axes.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, symbol="\N{NO-BREAK SPACE}%"))
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
    return figure, axes


def _draw_mean(axes: Axes, curve: MeanCurve, label: str, index: int, share: bool) -> None:
    colour = COLOURS[index % len(COLOURS)]
    style = LINE_STYLES[index // len(COLOURS) % len(LINE_STYLES)]
    marker = "o" if len(curve.queries) == 1 else None
    axes.plot(curve.queries, curve.means, style, color=colour, label=label, linewidth=1.8, marker=marker)
    if curve.half_widths is not None:
        low, high = curve.means - curve.half_widths, curve.means + curve.half_widths
        if share:
            low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
        axes.fill_between(curve.queries, low, high, color=colour, alpha=0.18, linewidth=0)


def _draw_victims(axes: Axes, accuracies: Sequence[float]) -> None:
    for accuracy in accuracies:
        axes.axhline(
            accuracy,
            color="0.45",
            linewidth=1,
            linestyle=(0, (4, 3)),
            label=f"victim ({100 * accuracy:.2f} %)",
        )


def _save(figure: Figure, axes: Axes, out: Path) -> None:
    axes.set_xlim(left=0)
    if len(axes.get_lines()) > 6:
        figure.legend(frameon=False, loc="outside right upper", fontsize="small")
    else:
        axes.legend(frameon=False, loc="best")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Software": None})
