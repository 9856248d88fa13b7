"""Transferability as grouped bars: evasion attacks side by side, experiments within."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_extract.reports.canvas import COLOURS, HATCHES, WIDTH, legend_columns, new_figure, prepare_bars
from lightning_extract.reports.transfer import SETTINGS, TransferRow, describe

GROUP_WIDTH = 0.8
INCHES_PER_GROUP = 0.75
CONTROLS = {"clone_rate": ("on the clone", "D", 4), "noise_rate": ("random noise", "_", 9)}  # label, marker, its size


def plot_transfer(rows: Sequence[TransferRow], out: Path) -> None:
    """Draws the rate at which the victim is fooled as bars with their 95 % intervals, and both controls as marks.

    The interval is that over seeds, or for a single run the one over its images.

    Args:
        rows: The table.
        out: The PNG to write.
    """
    labels = {_settings(row): _label(row) for row in rows}
    group = {settings: place for place, settings in enumerate(labels)}
    figure = new_figure()
    figure.set_figwidth(max(WIDTH, 1 + INCHES_PER_GROUP * len(labels)))
    axes = figure.add_subplot()
    experiments = list(dict.fromkeys(row.experiment for row in rows))
    width = GROUP_WIDTH / len(experiments)
    for index, experiment in enumerate(experiments):
        mine = [row for row in rows if row.experiment == experiment]
        offset = 0.5 + (index - (len(experiments) - 1) / 2) * width
        places = [group[_settings(row)] + offset for row in mine]
        axes.bar(
            places,
            [row.rates["rate"].mean for row in mine],
            0.92 * width,
            yerr=list(zip(*map(_spread, mine), strict=True)),
            color=COLOURS[index % len(COLOURS)],
            hatch=HATCHES[index // len(COLOURS) % len(HATCHES)],
            edgecolor="white",
            label=experiment,
            error_kw={"ecolor": "0.2", "elinewidth": 1, "capsize": 2},
        )
        for key, (control, marker, size) in CONTROLS.items():
            axes.plot(
                places,
                [row.rates[key].mean for row in mine],
                marker,
                label=None if index else control,
                color="0.2",
                markersize=size,
                markerfacecolor="white",
                clip_on=False,
            )
    axes.set_xticks([place + 0.5 for place in group.values()], labels.values(), fontsize="small")
    axes.set_xlim(0, len(labels))
    axes.set_ylim(0, 1)
    prepare_bars(axes, "victim fooled")
    columns = legend_columns([*experiments, *(control for control, _, _ in CONTROLS.values())])
    figure.legend(frameon=False, loc="outside upper center", ncols=columns, fontsize="small")
    figure.savefig(out, metadata={"Software": None})


def _settings(row: TransferRow) -> tuple[Any, ...]:
    return tuple(row.entries[0][key] for key in SETTINGS)


def _label(row: TransferRow) -> str:
    attack, norm, epsilon = describe(row.entries[0]).values()
    return "\n".join([*attack.split(", "), epsilon, f"norm {norm}"])


def _spread(row: TransferRow) -> tuple[float, float]:
    rate = row.rates["rate"]
    if rate.half_width is None:
        low, high = row.entries[0]["interval"]
        return max(0.0, rate.mean - low), max(0.0, high - rate.mean)
    return min(rate.half_width, rate.mean), min(rate.half_width, 1 - rate.mean)
