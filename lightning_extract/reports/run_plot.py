"""The curves of a single run."""

from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes

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
from lightning_extract.reports.marks import draw_stages, number_rounds
from lightning_extract.reports.metrics_table import Curve, read_metrics
from lightning_extract.reports.rounds import at_round_ends
from lightning_extract.reports.statistics import mean_curve

# What a panel shows: its label and its metrics, the first panel in front. The last has queries of its own scale.
PANELS = {
    "share of the test set": ("agreement", "accuracy"),
    "gradient cosine": ("gradient_cosine", "gradient_cosine_weights"),
    "classes found": ("classes_found",),
}
LABELS = {
    "gradient_cosine": "with respect to the image",
    "gradient_cosine_weights": "with respect to the generator's weights",
    "classes_found": "found",
}
HEIGHT, SMALL_HEIGHT = 4.8, 2.2  # inches


def plot_run(
    metrics_csv: Path,
    out: Path,
    victim_accuracy: float | None = None,
    discovery: Curve | None = None,
    num_classes: int | None = None,
) -> None:
    """Draws agreement and accuracy of one run and, in small panels below, what only some attacks log.

    Of an attack in rounds it draws the end of each round, or all evaluations while no round has ended.

    Args:
        metrics_csv: The run's metrics file.
        out: The PNG to write.
        victim_accuracy: Drawn as a horizontal line, in [0, 1].
        discovery: The classes found, exact at every query; without it they are drawn as the metrics file has them.
        num_classes: The victim's number of classes, drawn as a horizontal line beside those found.

    Raises:
        InputError: The file is broken or holds neither agreement nor accuracy.
    """
    whole = read_metrics(metrics_csv)
    logged = at_round_ends(whole) or whole
    in_rounds = logged is not whole
    if discovery is not None:
        logged["classes_found"] = discovery
    panels = {
        label: {metric: logged[metric] for metric in metrics if metric in logged} for label, metrics in PANELS.items()
    }
    main, *others = panels
    if not panels[main]:
        raise InputError(f"{metrics_csv} holds neither agreement nor accuracy, so there is nothing to draw")
    shown = [main, *(label for label in others if panels[label])]
    heights = [HEIGHT, *[SMALL_HEIGHT] * (len(shown) - 1)]
    figure = new_figure(sum(heights))
    rows: list[Axes] = list(figure.subplots(len(shown), height_ratios=heights, squeeze=False)[:, 0])
    for label, axes in zip(shown, rows, strict=True):
        look = look_of(PANELS[label][0])
        prepare(axes, label, look)
        for index, (metric, curve) in enumerate(panels[label].items()):
            drawn = mean_curve([curve], steps=look.steps)
            draw_mean(axes, drawn, LABELS.get(metric, metric), index, look, marked=in_rounds)
            if in_rounds and len(drawn.means) == 1:
                draw_level(axes, drawn, index, look)
        if "stage" in logged and not look.steps:
            draw_stages(axes, logged["stage"])
        if label == main and victim_accuracy is not None:
            draw_levels(axes, victim_accuracies([victim_accuracy]))
        elif look.steps:
            draw_levels(axes, victims_classes([num_classes]))
    for above, below in pairwise(rows):
        if above.get_xscale() == below.get_xscale():
            below.sharex(above)
            above.set_xlabel("")
            above.tick_params(labelbottom=False)
    if in_rounds:
        number_rounds(rows[0], [logged["round"]])
    figure.align_ylabels()
    save(figure, out)
