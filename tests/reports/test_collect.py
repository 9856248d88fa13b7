from pathlib import Path

import numpy as np
import pytest

from lightning_extract.errors import InputError
from lightning_extract.reports.collect import find_run_folders, flatten, read_run
from tests.reports.conftest import rounds_table


def test_runs_are_found_once_at_any_depth(make_run, tmp_path):
    first, second = make_run(seed=1), make_run(seed=0)
    (tmp_path / "runs/latest").symlink_to(first)
    killed = tmp_path / "runs/killed"
    killed.mkdir()
    (killed / "metrics.csv").write_text("queries,accuracy\n")
    victim = tmp_path / "runs/victim"
    victim.mkdir()
    (victim / "metrics.csv").write_text("epoch,accuracy\n")
    assert find_run_folders([tmp_path / "runs", first]) == [killed, second, first]


def test_places_without_runs_are_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        find_run_folders([tmp_path / "absent"])
    with pytest.raises(InputError, match="holds no run"):
        find_run_folders([tmp_path])


def test_flatten_names_leaves_by_their_path():
    assert dict(flatten({"a": {"b": 1, "c": {}}, "d": [2]})) == {"a.b": 1, "a.c": {}, "d": [2]}


def test_a_run_is_read(make_run):
    run = read_run(make_run(experiment="x", seed=3))
    assert (run.experiment, run.seed, run.finished) == ("x", 3, True)
    assert run.curves.keys() == {"accuracy", "agreement", "kl"}
    np.testing.assert_array_equal(run.curves["accuracy"].queries, [0, 400, 1000, 1000])
    assert run.prior == 0


def test_the_history_of_classes_is_preferred_to_the_evaluations(make_run):
    metrics = "queries,iteration,accuracy,classes_found\n400,2,0.5,7\n1000,5,0.8,8\n"
    told = read_run(make_run(metrics=metrics, summary={"class_discovery": [[100, 3], [300, 7], [800, 8]]}))
    np.testing.assert_array_equal(told.curves["classes_found"][:2], [[0, 100, 300, 800, 1000], [0, 3, 7, 8, 8]])
    not_told = read_run(make_run(seed=1, metrics=metrics, summary={"class_discovery": None}))
    np.testing.assert_array_equal(not_told.curves["classes_found"][:2], [[400, 1000], [7, 8]])


def test_prior_queries_are_no_part_of_the_account(make_run):
    folder = make_run(summary={"start_from": [{"run": "runs/x/seed_0", "queries": 51200}], "queries.prior": 51200})
    assert read_run(folder).prior == 51200


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"queries.by_phase": {"clone": 999}}, "phases sum to 999 queries but 1,000"),
        ({"queries.budget": 999}, "1,000 queries were spent of a budget of 999"),
        ({"queries.after_stop": 2}, "2 queries came after"),
        ({"final.queries": 1001}, "evaluated at 1,001"),
        (
            {"queries.spent": 900, "queries.by_phase": {"clone": 900}, "final.queries": 900},
            "evaluated at 1,000",
        ),
        ({"class_discovery": [[100, 3], [1001, 4]]}, "evaluated at 1,001"),
    ],
)
def test_an_account_that_does_not_add_up_is_refused(make_run, changes, reason):
    with pytest.raises(InputError, match=f"does not add up.*{reason}"):
        read_run(make_run(summary=changes))


@pytest.mark.parametrize("file", ["summary.json", "config.yaml", "metrics.csv"])
@pytest.mark.parametrize("content", [None, "", "{[", b"\xff\xfe"])
def test_a_broken_file_is_named(make_run, file, content):
    path: Path = make_run() / file
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=file):
        read_run(path.parent)


def test_another_format_and_a_missing_key_are_refused(make_run):
    with pytest.raises(InputError, match="format_version 2"):
        read_run(make_run(seed=0, summary={"format_version": 2}))
    with pytest.raises(InputError, match=r'lacks "final\.queries"'):
        read_run(make_run(seed=1, summary={"final": {}}))


def test_attacks_in_rounds_are_followed_by_their_ends(make_run):
    run = read_run(make_run(metrics=rounds_table(0.4, 0.6)))
    np.testing.assert_array_equal(run.curves["agreement"], [[300, 400], [0.4, 0.6], [0, 1]])


def test_the_account_is_checked_within_rounds_too(make_run):
    within = rounds_table(0.4) + "1001,111,0.5,0.5,1,0\n"
    with pytest.raises(InputError, match="evaluated at 1,001"):
        read_run(make_run(metrics=within))
