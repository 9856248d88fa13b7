import pytest

from lightning_extract.reports.collect import read_run
from lightning_extract.reports.rows import Row


def test_results_by_hand(row):
    results = row.results()
    assert results["experiment"] == "toy"
    assert results["input space"] == "pre_transform"
    assert results["n"] == "2"
    assert results["victim accuracy (%)"] == "95.00"
    assert results["final accuracy (%)"] == "81.00 ± 12.71"
    assert results["final agreement (%)"] == "85.00 ± 0.00"
    assert results["clone / victim accuracy (%)"] == "85.26 ± 13.37"  # both divided by 0.95


def test_choices_by_hand(row):
    choices = row.choices()
    assert choices["experiment"] == "toy"
    assert choices["n"] == "2"
    assert choices["final accuracy (%)"] == choices["best test accuracy (%)"] == "81.00 ± 12.71"
    assert choices["single clones' accuracy (%)"] == "78.00 ± 12.71"  # 3 points below
    assert choices["best held-out accuracy (%)"] == "80.00 (n = 1)"


def test_costs_by_hand(row):
    costs = row.costs()
    assert costs["budget"] == "1,000"
    assert costs["queries spent"] == "950 (900 to 1,000)"
    assert costs["queries to accuracy"] == "50 %: 500 ± 1,271 (2 of 2); 88.1 %: 900 (1 of 2)"
    assert costs["collapsed"] == "1 of 2"


def test_a_single_seed_prints_values_alone(make_run):
    row = Row([read_run(make_run())])
    assert row.results()["final accuracy (%)"] == "80.00"
    assert row.costs()["queries spent"] == "1,000"
    assert row.costs()["queries to accuracy"] == "50 %: 400 (1 of 1); 88.1 %: never (0 of 1)"
    assert row.record()["final_accuracy_ci95"] is None


def test_the_record_holds_plain_fractions(row):
    record = row.record()
    assert record["final_accuracy_mean"] == pytest.approx(0.81)
    assert record["final_accuracy_ci95"] == pytest.approx(0.127062, abs=1e-6)
    assert (record["queries_to_0.881_mean"], record["queries_to_0.881_n"]) == (900, 1)
    assert (record["spent_min"], record["spent_max"], record["seeds"]) == (900, 1000, 2)
