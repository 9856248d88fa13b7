import pytest

from lightning_extract.errors import InputError
from lightning_extract.reports.canvas import COLOURS
from lightning_extract.reports.collect import read_run
from lightning_extract.reports.curves import plot_groups, usual_metrics
from tests.plot_pixels import GREY, pixels_of


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
