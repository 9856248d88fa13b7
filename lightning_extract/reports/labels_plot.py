"""The labels of the bought answers as bars, experiments side by side."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lightning_extract.reports.canvas import COLOURS, HATCHES, legend_columns, new_figure, prepare_bars
from lightning_extract.reports.labels import LabelShares

GROUP_WIDTH = 0.8
MOST_BARS = 80  # beside each other; more are too thin for colours, so experiments then lie below each other
MOST_NAMES, LONGEST_NAME = 50, 14  # ticks; characters
LETTERS_UPRIGHT = 85  # of all names, with their gaps, that fit below the axes; longer ones are turned
HEIGHT, SMALL_HEIGHT = 4.2, 1.9  # inches of axes for one victim, for one experiment


def plot_labels(experiments: Sequence[LabelShares], out: Path) -> None:
    """Draws how often each label was given, in percent, with 95 % intervals over seeds.

    Reference:
        ActiveThief, Figure 6.

    Args:
        experiments: Those of one victim share axes.
        out: The PNG to write.
    """
    panels = _panels(experiments)
    heights = [SMALL_HEIGHT if len(panels) > 1 else HEIGHT for _ in panels]
    figure = new_figure(sum(heights) + 0.6)
    looks = {labels.experiment: index for index, labels in enumerate(experiments)}
    of_one_victim = len({labels.victim for labels in experiments}) == 1
    rows: list[Axes] = list(
        figure.subplots(len(panels), squeeze=False, sharex=of_one_victim, sharey=of_one_victim)[:, 0]
    )
    for axes, panel in zip(rows, panels, strict=True):
        width = GROUP_WIDTH / len(panel)
        for place, labels in enumerate(panel):
            offset = (place - (len(panel) - 1) / 2) * width
            _draw(axes, labels, offset, width, looks[labels.experiment])
        prepare_bars(axes, "bought answers")
        axes.set_ylim(bottom=0)
        axes.set_xlim(-0.6, len(panel[0].classes) - 0.4)
        _name_classes(axes, panel[0].classes)
        names = [] if of_one_victim else [panel[0].dataset]
        names += [panel[0].experiment] if len(panel) == 1 < len(experiments) else []
        axes.set_title(": ".join(names), loc="left", fontsize="medium", parse_math=False)
    if any(len(panel) > 1 for panel in panels):
        patches = [
            Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=labels.experiment)
            for labels in experiments
            for colour, hatch in [_fill(looks[labels.experiment])]
        ]
        columns = legend_columns(looks)
        figure.legend(handles=patches, frameon=False, loc="outside upper center", ncols=columns, fontsize="small")
    figure.savefig(out, metadata={"Software": None})


def _panels(experiments: Sequence[LabelShares]) -> list[list[LabelShares]]:
    victims: dict[str, list[LabelShares]] = {}
    for labels in experiments:
        victims.setdefault(labels.victim, []).append(labels)
    panels: list[list[LabelShares]] = []
    for group in victims.values():
        beside = len(group) * len(group[0].classes) <= MOST_BARS
        panels += [group] if beside else [[labels] for labels in group]
    return panels


def _draw(axes: Axes, labels: LabelShares, offset: float, width: float, index: int) -> None:
    means = [share.mean for share in labels.shares]
    spreads = [(min(share.half_width or 0, share.mean), share.half_width or 0) for share in labels.shares]
    several = labels.shares[0].half_width is not None
    colour, hatch = _fill(index)
    axes.bar(
        [number + offset for number in range(len(means))],
        means,
        0.94 * width,
        yerr=list(zip(*spreads, strict=True)) if several else None,
        color=colour,
        hatch=hatch,
        edgecolor="white",
        linewidth=0,
        error_kw={"ecolor": "0.2", "elinewidth": 1},
    )


def _fill(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], HATCHES[index // len(COLOURS) % len(HATCHES)]


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    if len(classes) > MOST_NAMES:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.set_xlabel("label")
        return
    names = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in classes]
    turned = sum(len(name) + 2 for name in names) > LETTERS_UPRIGHT
    size = "small" if len(names) <= 25 else "x-small"
    axes.set_xticks(range(len(names)), names, rotation=90 if turned else 0, fontsize=size, parse_math=False)
