import pytest
from matplotlib.image import imread

from lightning_extract.reports.canvas import COLOURS
from lightning_extract.reports.labels import label_shares
from lightning_extract.reports.labels_plot import plot_labels
from tests.plot_pixels import pixels_of


def labels_of(experiment, *counts, classes=(), victim="abc"):
    """Seeds with one list of counts each."""
    about = {"weights_sha256": victim, "dataset": f"data of {victim}"}
    return label_shares(
        experiment, [{"label_counts": list(seed), "classes": classes, "victim": about} for seed in counts]
    )


@pytest.fixture
def drawn(monkeypatch):
    """Places, heights and what else was given, of each experiment's bars."""
    found = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.bar",
        lambda self, places, heights, width, **given: found.append((places, heights, width, given)),
    )
    return found


def test_bars_stand_beside_each_other(tmp_path, drawn):
    plot_labels([labels_of("a", (1, 3), (1, 1)), labels_of("b", (4, 1))], tmp_path / "labels.png")
    (places, heights, width, given), (other_places, other_heights, _, other_given) = drawn
    assert places == pytest.approx([-0.2, 0.8])
    assert other_places == pytest.approx([0.2, 1.2])
    assert width < 0.4
    assert heights == pytest.approx([0.375, 0.625])
    assert other_heights == pytest.approx([0.8, 0.2])
    low, high = given["yerr"]
    assert low == pytest.approx([0.375, 0.625])  # no share is below zero
    assert high == pytest.approx([12.706205 * 0.125] * 2, abs=1e-5)
    assert other_given["yerr"] is None


def test_a_run_is_drawn_in_its_colour_alone(tmp_path):
    plot_labels(
        [labels_of("a", (5, 1, 0), classes=["$x", "a name that is far too long", "y"])], tmp_path / "labels.png"
    )
    assert pixels_of(tmp_path / "labels.png", COLOURS[0]) > 5000
    assert pixels_of(tmp_path / "labels.png", COLOURS[1]) == 0


def test_many_labels_and_other_victims_have_axes_of_their_own(tmp_path):
    few, many = (5, 1), range(100)
    plots = {
        "beside": [labels_of("a", few), labels_of("b", few)],
        "victims": [labels_of("a", few), labels_of("b", few, victim="other")],
        "below": [labels_of(name, many) for name in "abcd"],
    }
    for name, experiments in plots.items():
        plot_labels(experiments, tmp_path / f"{name}.png")
        assert all(pixels_of(tmp_path / f"{name}.png", COLOURS[place]) > 2000 for place in range(len(experiments)))
    sizes = {name: imread(tmp_path / f"{name}.png").shape for name in plots}
    assert len({width for _, width, _ in sizes.values()}) == 1
    assert sizes["below"][0] > 1.5 * sizes["victims"][0]


def test_experiments_beyond_the_colours_are_hatched(tmp_path, drawn):
    plot_labels([labels_of(str(number), (1, 2)) for number in range(9)], tmp_path / "labels.png")
    looks = [(given["color"], given["hatch"]) for *_, given in drawn]
    assert len(set(looks)) == 9
    assert looks[7][0] == looks[0][0]
