import csv

import pytest
from rich.console import Console

from lightning_extract.errors import InputError
from lightning_extract.reports.collect import read_run
from lightning_extract.reports.grouping import group_runs
from lightning_extract.reports.paired import budget_notes, paired_rows, print_paired, write_paired


@pytest.fixture
def groups(make_run):
    """Grouped runs from the final agreements of each experiment's seeds."""

    def make(summary=None, **experiments):
        folders = [
            make_run(name, seed, agreement=agreement, summary=(summary or {}).get(name))
            for name, seeds in experiments.items()
            for seed, agreement in seeds.items()
        ]
        return group_runs(map(read_run, folders))

    return make


def test_differences_by_hand(groups):
    found = groups(random={0: 0.5, 1: 0.6, 2: 0.4}, kcenter={0: 0.6, 2: 0.8, 7: 0.9}, single={1: 0.55})
    kcenter, single = paired_rows(found, "random")
    assert (kcenter.experiment, kcenter.seeds) == ("kcenter", (0, 2))
    assert kcenter.difference.mean == pytest.approx(0.25)  # 0.1 and 0.4
    assert kcenter.difference.half_width == pytest.approx(12.706205 * 0.15, abs=1e-5)  # t of one degree, s / sqrt(2)
    assert single.results() == {
        "experiment": "single",
        "pairs": "1",
        "final agreement minus random (points)": "-5.00",
    }


def test_what_all_seeds_share_is_no_spread(groups):
    """Pairing sees a gain that the intervals of both experiments hide."""
    (row,) = paired_rows(groups(random={0: 0.2, 1: 0.5, 2: 0.8}, kcenter={0: 0.25, 1: 0.55, 2: 0.85}), "random")
    assert row.difference.mean == pytest.approx(0.05)
    assert row.difference.half_width == pytest.approx(0, abs=1e-9)


def test_only_experiments_on_the_same_victim_are_compared(groups):
    other = {"other": {"victim.weights_sha256": "xyz"}}
    found = groups(other, random={0: 0.5}, kcenter={0: 0.6}, other={0: 0.7})
    assert [row.experiment for row in paired_rows(found, "random")] == ["kcenter"]
    with pytest.raises(InputError, match=r'no other experiment attacks the victim of "other" \(weights xyz\)'):
        paired_rows(found, "other")


def test_what_cannot_be_paired_is_refused(groups):
    found = groups(random={0: 0.5, 1: 0.5}, kcenter={2: 0.6})
    with pytest.raises(InputError, match='no experiment "adversarial" among the runs; choose one of kcenter, random'):
        paired_rows(found, "adversarial")
    with pytest.raises(InputError, match='"kcenter" has the seeds 2 and "random" 0, 1, none in common'):
        paired_rows(found, "random")


def test_files_terminal_and_a_note_of_other_budgets(groups, tmp_path, capsys):
    rows = paired_rows(groups({"b": {"queries.budget": 2000}}, a={0: 0.5, 1: 0.6}, b={0: 0.7, 1: 0.6}), "a")
    assert budget_notes(rows) == ["b has a budget of 2,000 queries, a one of 1,000."]
    write_paired(rows, tmp_path)
    text = (tmp_path / "paired.md").read_text()
    assert "| experiment | pairs | final agreement minus a (points) |" in text
    assert "| b | 2 | 10.00 ± 127.06 |" in text
    assert "- b has a budget of 2,000 queries" in text
    with (tmp_path / "paired.csv").open() as file:
        (record,) = csv.DictReader(file)
    assert (record["base"], record["pairs"], record["seeds"]) == ("a", "2", "0; 1")
    assert float(record["agreement_difference_mean"]) == pytest.approx(0.1)
    print_paired(rows, Console(width=80))
    assert "10.00 ± 127.06" in capsys.readouterr().out
