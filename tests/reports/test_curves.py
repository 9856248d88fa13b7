import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from lightning_extract.errors import InputError
from lightning_extract.reports.collect import read_run
from lightning_extract.reports.curves import COLOURS, plot_groups, plot_run

GREY = to_rgb("0.45")


def pixels_of(path, colour):
    """How many pixels have a colour, to the rounding of 8 bits."""
    return int((np.abs(imread(path)[..., :3] - np.array(to_rgb(colour))).max(axis=-1) < 0.004).sum())


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


def test_each_experiment_has_a_line_and_a_missing_one_is_named(make_run, tmp_path):
    other = "queries,accuracy\n0,0.1\n1000,0.9\n"
    groups = {
        "a": [read_run(make_run("a", 0)), read_run(make_run("a", 1))],
        "b": [read_run(make_run("b", 0, metrics=other))],
    }
    assert plot_groups(groups, "accuracy", tmp_path / "accuracy.png") == []
    assert plot_groups(groups, "kl", tmp_path / "kl.png") == ["b"]
    assert pixels_of(tmp_path / "accuracy.png", COLOURS[1]) > 500
    assert pixels_of(tmp_path / "kl.png", COLOURS[1]) == 0
    with pytest.raises(InputError, match=r'"f1".*accuracy, agreement, kl'):
        plot_groups(groups, "f1", tmp_path / "f1.png")


def test_many_experiments_have_distinct_lines(make_run, tmp_path):
    names = [f"experiment_{index}" for index in range(9)]
    plot_groups({name: [read_run(make_run(name))] for name in names}, "kl", tmp_path / "kl.png")
    assert all(pixels_of(tmp_path / "kl.png", colour) > 20 for colour in COLOURS)


def test_drawing_is_deterministic_and_keeps_the_backend(make_run, tmp_path):
    backend = matplotlib.rcParams._get("backend")
    folder = make_run()
    for name in ("one.png", "two.png"):
        plot_run(folder / "metrics.csv", tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert matplotlib.rcParams._get("backend") == backend
