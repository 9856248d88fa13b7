import pytest
from matplotlib.axes import Axes

from lightning_extract.errors import InputError
from lightning_extract.reports.canvas import COLOURS
from lightning_extract.reports.collect import read_run
from lightning_extract.reports.curves import plot_groups, usual_metrics
from tests.plot_pixels import GREY, pixels_of
from tests.reports.conftest import rounds_table


def test_each_experiment_has_a_line_and_a_missing_one_is_named(make_run, tmp_path):
    other = "queries,accuracy\n0,0.1\n1000,0.9\n"
    groups = {
        "a": [read_run(make_run("a", 0)), read_run(make_run("a", 1))],
        "b": [read_run(make_run("b", 0, metrics=other))],  # without iterations, as old tables are
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


def test_only_what_an_experiment_logged_is_usual(make_run):
    found = "queries,iteration,accuracy,agreement,gradient_cosine\n400,2,0.5,0.5,0.1\n1000,5,0.6,0.6,-0.1\n"
    plain, known = [read_run(make_run("plain"))], [read_run(make_run("known", metrics=found))]
    half = [read_run(make_run("half", 0, metrics=found)), read_run(make_run("half", 1))]
    unknown = [read_run(make_run("unknown", summary={"class_discovery": [[100, 3]]}))]
    both = {"known": known, "unknown": unknown}
    assert usual_metrics({"plain": plain, "half": half}) == ["agreement", "accuracy"]
    assert usual_metrics({"plain": plain, "known": known}) == ["agreement", "accuracy", "gradient_cosine"]
    assert usual_metrics(both) == ["agreement", "accuracy", "classes_found", "gradient_cosine"]


@pytest.fixture
def discoveries(make_run):
    """An experiment of two seeds that found classes, and one that knew them."""
    histories = [[[256, 3], [512, 7], [900, 10]], [[128, 2], [640, 8]]]
    return {
        "unknown": [
            read_run(make_run("unknown", seed, summary={"class_discovery": history}))
            for seed, history in enumerate(histories)
        ],
        "known": [read_run(make_run("known"))],
    }


def test_classes_found_are_drawn_with_the_victims_number(discoveries, make_run, tmp_path):
    assert plot_groups(discoveries, "classes_found", tmp_path / "without.png") == ["known"]
    told = {"class_discovery": [[256, 3]], "victim.num_classes": 10}
    discoveries["told"] = [read_run(make_run("told", summary=told))]
    plot_groups(discoveries, "classes_found", tmp_path / "with.png")
    assert pixels_of(tmp_path / "without.png", COLOURS[0]) > 500
    assert pixels_of(tmp_path / "without.png", COLOURS[1]) == 0
    assert pixels_of(tmp_path / "with.png", COLOURS[1]) > 500
    assert pixels_of(tmp_path / "with.png", GREY) > pixels_of(tmp_path / "without.png", GREY) + 200


def test_zero_is_marked_between_gradients_that_agree_and_disagree(make_run, tmp_path):
    table = "queries,iteration,accuracy,gradient_cosine\n400,2,0.5,0.2\n1000,5,0.6,0.1\n"
    groups = {"a": [read_run(make_run("a", metrics=table))]}
    plot_groups(groups, "gradient_cosine", tmp_path / "cosine.png")
    assert pixels_of(tmp_path / "cosine.png", COLOURS[0]) > 500
    assert pixels_of(tmp_path / "cosine.png", GREY) > 1000


def test_seeds_that_train_on_after_the_last_purchase_are_drawn(make_run, tmp_path):
    all_at_once = "queries,iteration,accuracy\n1000,5,0.1\n1000,9,0.6\n1000,12,0.8\n"
    group = [read_run(make_run("a", seed, metrics=all_at_once)) for seed in range(2)]
    plot_groups({"a": group}, "accuracy", tmp_path / "accuracy.png")
    assert pixels_of(tmp_path / "accuracy.png", COLOURS[0]) > 500


def test_prior_queries_stand_beside_the_name(make_run, tmp_path):
    plain = [read_run(make_run("a"))]
    tuned = [read_run(make_run("b", summary={"experiment": "a", "queries.prior": 51200}))]
    for name, group in (("plain", plain), ("tuned", tuned)):
        plot_groups({"a": group}, "accuracy", tmp_path / f"{name}.png")
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "tuned.png").read_bytes()


@pytest.fixture
def strategies(make_run):
    """Two strategies in rounds, the second of two seeds, and one of a single round."""
    return {
        "kcenter": [read_run(make_run("kcenter", metrics=rounds_table(0.2, 0.3, 0.4)))],
        "uncertainty": [
            read_run(make_run("uncertainty", seed, metrics=rounds_table(0.1, 0.15 + 0.1 * seed, 0.25)))
            for seed in range(2)
        ],
        "random": [read_run(make_run("random", metrics=rounds_table(0.3, first=500)))],
    }


def drawn_lines(monkeypatch):
    """The points of each line and its marker, and the heights of levels."""
    lines, levels = [], []
    plot, level = Axes.plot, Axes.axhline

    def record_line(self, x, y, *args, **given):
        lines.append((list(x), list(y), given.get("marker")))
        return plot(self, x, y, *args, **given)

    def record_level(self, y, **given):
        levels.append(y)
        return level(self, y, **given)

    monkeypatch.setattr(Axes, "plot", record_line)
    monkeypatch.setattr(Axes, "axhline", record_level)
    return lines, levels


def test_rounds_are_marked_points_and_a_single_one_is_a_level(strategies, tmp_path, monkeypatch):
    lines, levels = drawn_lines(monkeypatch)
    assert plot_groups(strategies, "agreement", tmp_path / "rounds.png") == []
    assert [line[0] for line in lines] == [[300, 400, 500], [300, 400, 500], [500]]
    assert [line[1] for line in lines] == [pytest.approx([0.2, 0.3, 0.4]), pytest.approx([0.1, 0.2, 0.25]), [0.3]]
    assert {line[2] for line in lines} == {"o"}
    assert levels == [0.3]


def test_a_seed_that_ended_early_makes_no_level(make_run, tmp_path, monkeypatch):
    lines, levels = drawn_lines(monkeypatch)
    seeds = [rounds_table(0.2, 0.3, 0.4), rounds_table(0.1)]
    group = [read_run(make_run("a", seed, metrics=metrics)) for seed, metrics in enumerate(seeds)]
    plot_groups({"a": group}, "agreement", tmp_path / "rounds.png")
    assert lines == [([300], pytest.approx([0.15]), "o")]
    assert levels == []


def test_rounds_are_numbered_only_among_their_own(strategies, make_run, tmp_path, monkeypatch):
    numbered = []
    monkeypatch.setattr("lightning_extract.reports.curves.number_rounds", lambda axes, curves: numbered.append(1))
    plot_groups(strategies, "agreement", tmp_path / "rounds.png")
    assert numbered == [1]
    plot_groups(strategies | {"other": [read_run(make_run("other"))]}, "agreement", tmp_path / "mixed.png")
    assert numbered == [1]


def test_classes_found_within_a_single_round_are_steps(make_run, tmp_path, monkeypatch):
    lines, levels = drawn_lines(monkeypatch)
    run = read_run(make_run(metrics=rounds_table(0.3), summary={"class_discovery": [[256, 3], [300, 7]]}))
    plot_groups({"a": [run]}, "classes_found", tmp_path / "found.png")
    assert lines[0][1] == [0, 3, 7, 7]
    assert levels == []
