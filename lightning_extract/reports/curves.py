"""Curves of experiments against queries."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lightning_extract.errors import InputError
from lightning_extract.reports.canvas import (
    draw_level,
    draw_levels,
    draw_mean,
    look_of,
    new_figure,
    prepare,
    save,
    victim_accuracies,
    victims_classes,
)
from lightning_extract.reports.collect import Run
from lightning_extract.reports.discovery import victim_classes
from lightning_extract.reports.marks import number_rounds
from lightning_extract.reports.rounds_table import rounds_of
from lightning_extract.reports.statistics import mean_curve

ALWAYS = ("agreement", "accuracy")
WHERE_LOGGED = ("classes_found", "gradient_cosine", "gradient_cosine_weights")


def usual_metrics(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """What a report draws unless it is told: agreement, accuracy, and what only some attacks log."""
    return [*ALWAYS, *(metric for metric in WHERE_LOGGED if any(_has(group, metric) for group in groups.values()))]


def plot_groups(groups: Mapping[str, Sequence[Run]], metric: str, out: Path) -> list[str]:
    """Draws one line per experiment: the mean over seeds with its 95 % confidence band.

    Attacks in rounds have a marked point for each round; one of a single round is a level across the axes.

    Reference:
        ActiveThief, Figures 5 and 7: agreement by iteration, the random strategy as a level.

    Args:
        groups: The runs of each experiment.
        metric: A column of the metrics files.
        out: The PNG to write.

    Returns:
        The experiments left out, since a seed of them did not log the metric.

    Raises:
        InputError: No experiment logged the metric.
    """
    look = look_of(metric)
    curves = {
        name: mean_curve([run.curves[metric] for run in group], steps=look.steps)
        for name, group in groups.items()
        if _has(group, metric)
    }
    if not curves:
        known = sorted({name for group in groups.values() for run in group for name in run.curves})
        raise InputError(f'no experiment logged "{metric}" in all its seeds; choose one of {", ".join(known)}')
    figure = new_figure()
    axes = figure.add_subplot()
    prepare(axes, metric, look)
    for index, (name, curve) in enumerate(curves.items()):
        prior = sum(run.prior for run in groups[name]) / curve.count
        start = f", after {prior:,.0f} prior queries" if prior else ""
        total = victim_classes(groups[name][0].summary) if metric == "classes_found" else None
        bounds = look if total is None else replace(look, high=total)
        rounds = rounds_of(groups[name])
        draw_mean(axes, curve, f"{name} (n = {curve.count}{start})", index, bounds, marked=rounds > 0)
        if rounds == 1 and len(curve.means) == 1:  # classes found have a history within a round
            draw_level(axes, curve, index, bounds)
    drawn = [run for name in curves for run in groups[name]]
    if metric == "accuracy":
        draw_levels(axes, victim_accuracies(run.summary["victim_accuracy"] for run in drawn))
    elif metric == "classes_found":
        draw_levels(axes, victims_classes(victim_classes(run.summary) for run in drawn))
    if all("round" in run.curves for run in drawn):
        number_rounds(axes, (run.curves["round"] for run in drawn))
    save(figure, out)
    return [name for name in groups if name not in curves]


def _has(group: Sequence[Run], metric: str) -> bool:
    return all(metric in run.curves for run in group)
