import pytest

from lightning_extract.reports.collect import read_run
from lightning_extract.reports.published import Published
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


def test_a_victim_that_is_never_right_has_no_ratio(make_run):
    row = Row([read_run(make_run(summary={"victim_accuracy": 0.0}))])
    assert row.results()["clone / victim accuracy (%)"] == "-"


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


def test_prior_queries_by_hand(make_run):
    runs = [read_run(make_run(seed=seed, summary={"queries.prior": 1000 * seed})) for seed in range(1, 4)]
    row = Row(runs)
    assert row.results()["prior queries"] == row.costs()["prior queries"] == "2,000 (1,000 to 3,000)"
    record = row.record()
    assert [record[f"prior_queries_{name}"] for name in ("mean", "min", "max")] == [2000, 1000, 3000]
    assert Row([read_run(make_run(seed=9))]).results()["prior queries"] == "0"


def test_averaged_weights_by_hand(make_run):
    shares = {"final.accuracy_averaged": 0.7, "final.agreement_averaged": 0.75}
    row = Row([read_run(make_run(summary=shares))])
    assert row.choices()["averaged clone's accuracy (%)"] == "70.00"
    assert row.choices()["averaged clone's agreement (%)"] == "75.00"
    assert (row.record()["final_averaged_accuracy_mean"], row.record()["final_averaged_agreement_mean"]) == (0.7, 0.75)


def test_the_record_has_no_columns_for_what_no_seed_has(row):
    assert not [key for key in row.record() if "prior" in key or "averaged" in key]
    assert row.choices()["averaged clone's accuracy (%)"] == "-"


def test_published_values_stand_beside_ours(make_run, row):
    values = [Published("final_agreement", 81.5, "Table 3"), Published("victim_accuracy", 95.5, "section 4")]
    told = Row([read_run(make_run(seed=9))], values)
    assert told.results()["published (%)"] == "agreement 81.50 (Table 3); victim accuracy 95.50 (section 4)"
    record = told.record()
    assert (record["published_final_agreement"], record["source_final_agreement"]) == (0.815, "Table 3")
    assert row.results()["published (%)"] == "-"
    assert not [key for key in row.record() if "published" in key]
