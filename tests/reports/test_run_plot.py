import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from lightning_extract.errors import InputError
from lightning_extract.reports.canvas import COLOURS, draw_mean
from lightning_extract.reports.discovery import discovery_curve
from lightning_extract.reports.run_plot import plot_run
from tests.plot_pixels import GREY, pixels_of
from tests.reports.conftest import rounds_table


def test_a_run_is_drawn(make_run, tmp_path):
    folder = make_run()
    plot_run(folder / "metrics.csv", tmp_path / "new/run.png")
    plot_run(folder / "metrics.csv", tmp_path / "victim.png", victim_accuracy=0.95)
    assert pixels_of(tmp_path / "new/run.png", COLOURS[0]) > 500
    assert pixels_of(tmp_path / "new/run.png", COLOURS[1]) > 500
    assert pixels_of(tmp_path / "victim.png", GREY) > pixels_of(tmp_path / "new/run.png", GREY) + 200


def test_a_run_with_a_single_evaluation_shows_a_point(tmp_path):
    (tmp_path / "metrics.csv").write_text("queries,agreement\n100,0.5\n")
    plot_run(tmp_path / "metrics.csv", tmp_path / "run.png")
    assert pixels_of(tmp_path / "run.png", COLOURS[0]) > 50


def test_a_run_without_either_metric_is_refused(tmp_path):
    (tmp_path / "metrics.csv").write_text("queries,kl\n100,0.5\n")
    with pytest.raises(InputError, match="neither agreement nor accuracy"):
        plot_run(tmp_path / "metrics.csv", tmp_path / "run.png")


WHOLE = """queries,iteration,accuracy,classes_found,gradient_cosine,gradient_cosine_weights
256,1,0.1,4,0.1,-0.2
512,2,0.2,6,0.15,0.3
1000,4,0.5,8,0.1,0.25
1000,9,0.6,8,-0.1,0.2
"""


def without(columns):
    """The table without some columns."""
    rows = [line.split(",") for line in WHOLE.splitlines()]
    kept = [index for index, name in enumerate(rows[0]) if name not in columns]
    return "\n".join(",".join(row[index] for index in kept) for row in rows)


def test_panels_stand_below_for_what_was_logged(tmp_path):
    cosines, classes = {"gradient_cosine", "gradient_cosine_weights"}, {"classes_found"}
    heights = []
    for number, columns in enumerate([cosines | classes, cosines, classes, set()]):
        (tmp_path / "metrics.csv").write_text(without(columns))
        plot_run(tmp_path / "metrics.csv", tmp_path / f"{number}.png")
        heights.append(len(imread(tmp_path / f"{number}.png")))
    plain, with_classes, with_cosines, with_both = heights
    assert plain < with_classes == with_cosines < with_both
    assert pixels_of(tmp_path / "1.png", COLOURS[1]) == 0  # a single line in each panel, in the first colour
    assert pixels_of(tmp_path / "2.png", COLOURS[1]) > 500


def test_the_exact_history_is_preferred(tmp_path):
    (tmp_path / "metrics.csv").write_text(WHOLE)
    curve = discovery_curve({"queries": {"spent": 1000}, "class_discovery": [[16, 4], [700, 8]]})
    plot_run(tmp_path / "metrics.csv", tmp_path / "logged.png")
    plot_run(tmp_path / "metrics.csv", tmp_path / "exact.png", discovery=curve)
    plot_run(tmp_path / "metrics.csv", tmp_path / "of_ten.png", discovery=curve, num_classes=10)
    logged, exact = imread(tmp_path / "logged.png"), imread(tmp_path / "exact.png")
    assert not np.array_equal(logged, exact)
    assert pixels_of(tmp_path / "of_ten.png", GREY) > pixels_of(tmp_path / "exact.png", GREY) + 200


@pytest.mark.parametrize("history", [[], [[0, 3]], [[1000, 10]]])
def test_a_history_without_steps_in_between_is_drawn(tmp_path, history):
    (tmp_path / "metrics.csv").write_text("queries,iteration,accuracy\n1000,4,0.5\n")
    curve = discovery_curve({"queries": {"spent": 1000}, "class_discovery": history})
    plot_run(tmp_path / "metrics.csv", tmp_path / "run.png", discovery=curve)
    assert pixels_of(tmp_path / "run.png", COLOURS[0]) > 300


def test_drawing_is_deterministic_and_keeps_the_backend(make_run, tmp_path):
    backend = matplotlib.rcParams._get("backend")
    folder = make_run()
    for name in ("one.png", "two.png"):
        plot_run(folder / "metrics.csv", tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert matplotlib.rcParams._get("backend") == backend


def test_a_run_in_rounds_is_followed_by_their_ends(tmp_path, monkeypatch):
    drawn, numbered = [], []

    def record(axes, curve, label, index, look, marked):
        drawn.append((label, [*curve.queries], [*curve.means], marked))
        draw_mean(axes, curve, label, index, look, marked)

    monkeypatch.setattr("lightning_extract.reports.run_plot.draw_mean", record)
    monkeypatch.setattr(
        "lightning_extract.reports.run_plot.number_rounds", lambda axes, curves: numbered.extend(curves[0].values)
    )
    (tmp_path / "metrics.csv").write_text(rounds_table(0.4, 0.6))
    plot_run(tmp_path / "metrics.csv", tmp_path / "run.png")
    assert drawn == [("agreement", [300, 400], [0.4, 0.6], True), ("accuracy", [300, 400], [0.5, 0.5], True)]
    assert numbered == [0, 1]
    (tmp_path / "metrics.csv").write_text("queries,iteration,agreement,round,round_end\n300,1,0.2,0,0\n300,2,0.3,0,0\n")
    plot_run(tmp_path / "metrics.csv", tmp_path / "run.png")
    assert drawn[-1] == ("agreement", [300, 300], [0.2, 0.3], False)
    assert numbered == [0, 1]


def test_a_single_round_is_a_level(tmp_path):
    for name, table in (("level", rounds_table(0.4)), ("point", "queries,agreement,accuracy\n300,0.4,0.5\n")):
        (tmp_path / "metrics.csv").write_text(table)
        plot_run(tmp_path / "metrics.csv", tmp_path / f"{name}.png")
    level, point = (pixels_of(tmp_path / f"{name}.png", COLOURS[0]) for name in ("level", "point"))
    assert level > point + 1000


def test_stages_are_marked_in_all_panels_by_queries(tmp_path, monkeypatch):
    marked = []
    monkeypatch.setattr(
        "lightning_extract.reports.run_plot.draw_stages",
        lambda axes, stages: marked.append((axes.get_ylabel(), [*stages.values])),
    )
    lines = WHOLE.splitlines()
    stages = ["stage", *"1223"]
    table = "\n".join(f"{line},{stage}" for line, stage in zip(lines, stages, strict=True))
    (tmp_path / "metrics.csv").write_text(table)
    plot_run(tmp_path / "metrics.csv", tmp_path / "run.png")
    assert marked == [("share of the test set", [1, 2, 2, 3]), ("gradient cosine", [1, 2, 2, 3])]
