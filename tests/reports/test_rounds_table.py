import csv

import pytest

from lightning_extract.reports.collect import read_run
from lightning_extract.reports.grouping import group_runs
from lightning_extract.reports.rounds_table import in_rounds, round_rows, rounds_of, write_rounds
from tests.reports.conftest import rounds_table


@pytest.fixture
def groups(make_run):
    """Two seeds of a strategy, one that ended early, a single round at the whole budget, and an attack without."""
    folders = [
        make_run("kcenter", 0, metrics=rounds_table(0.4, 0.5, 0.6)),
        make_run("kcenter", 1, metrics=rounds_table(0.5, 0.7)),
        make_run("random", 0, metrics=rounds_table(0.3, first=500)),
        make_run("other", 0),
    ]
    return group_runs(map(read_run, folders))


def test_a_row_for_each_round_by_hand(groups):
    rows = round_rows(groups)
    assert [(row.experiment, row.number, row.queries, row.agreement.count) for row in rows] == [
        ("kcenter", 0, 300, 2),
        ("kcenter", 1, 400, 2),
        ("kcenter", 2, 500, 1),
        ("random", 0, 500, 1),
    ]
    assert [row.agreement.mean for row in rows] == pytest.approx([0.45, 0.6, 0.6, 0.3])
    assert rows[0].agreement.half_width == pytest.approx(12.706205 * 0.05, abs=1e-5)  # t of one degree, s / sqrt(2)


def test_only_attacks_of_more_than_one_round_are_worth_a_table(groups):
    assert list(in_rounds(groups)) == ["kcenter", "random"]
    assert [rounds_of(group) for group in groups.values()] == [3, 0, 1]
    del groups["kcenter"]
    assert in_rounds(groups) == {}
    assert round_rows(groups) == []


def test_experiments_stand_beside_each_other_by_queries(groups, tmp_path):
    write_rounds(round_rows(groups), tmp_path)
    lines = (tmp_path / "rounds.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("|")] == [
        "| queries | round | kcenter (n = 2) | random (n = 1) |",
        "| --- | --- | --- | --- |",
        "| 300 | 0 | 45.00 ± 63.53 | - |",
        "| 400 | 1 | 60.00 ± 127.06 | - |",
        "| 500 | 2 | 60.00 (n = 1) | 30.00 |",
    ]
    with (tmp_path / "rounds.csv").open() as file:
        records = list(csv.DictReader(file))
    assert (len(records), records[2]["agreement_ci95"]) == (4, "")
    assert (records[3]["experiment"], records[3]["round"], records[3]["queries"]) == ("random", "0", "500")


def test_other_purchases_are_other_rounds_at_the_same_queries(make_run, tmp_path):
    folders = [
        make_run("many", 0, metrics=rounds_table(0.4, 0.5, 0.6)),
        make_run("few", 0, metrics=rounds_table(0.4, 0.7, more=200)),
    ]
    write_rounds(round_rows(group_runs(map(read_run, folders))), tmp_path)
    text = (tmp_path / "rounds.md").read_text()
    assert "| 400 | 1 | - | 50.00 |" in text
    assert "| 500 | 1 or 2 | 70.00 | 60.00 |" in text
