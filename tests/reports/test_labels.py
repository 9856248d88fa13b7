import csv

import pytest

from lightning_extract.reports.collect import read_run
from lightning_extract.reports.grouping import group_runs
from lightning_extract.reports.labels import label_shares, labels_of_groups, write_labels

VICTIM = {"weights_sha256": "abc", "dataset": "cifar10"}


def summary(counts, classes=("cat", "dog", "frog")):
    return {"label_counts": counts, "classes": list(classes), "victim": VICTIM}


def test_shares_are_averaged_over_seeds_of_any_budget():
    labels = label_shares("a", [summary([10, 0, 30]), summary([50, 0, 50])])
    assert labels.classes == ("cat", "dog", "frog")
    assert [share.mean for share in labels.shares] == pytest.approx([0.375, 0, 0.625])
    assert labels.shares[0].half_width == pytest.approx(12.706205 * 0.125, abs=1e-5)  # t of one degree, s / sqrt(2)
    assert (labels.experiment, labels.victim, labels.dataset) == ("a", "abc", "cifar10")


@pytest.mark.parametrize("classes", [(), ("cat", "dog")])
def test_classes_without_names_have_numbers(classes):
    assert label_shares("a", [summary([1, 2, 3], classes)]).classes == ("0", "1", "2")


def test_nothing_is_told_of_runs_that_are_old_or_bought_nothing():
    assert label_shares("a", [{"victim": VICTIM}, summary([0, 0, 0])]) is None
    (share, *_) = label_shares("a", [{"victim": VICTIM}, summary([1, 1, 2])]).shares
    assert (share.mean, share.count) == (0.25, 1)


def test_a_row_for_each_experiment_and_label(make_run, tmp_path):
    told = {"label_counts": [1, 3], "classes": ["negative", "positive"]}
    folders = [make_run("a", 0, summary=told), make_run("a", 1, summary=told), make_run("b", 0)]
    write_labels(labels_of_groups(group_runs(map(read_run, folders))), tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open() as file:
        records = list(csv.DictReader(file))
    assert [list(record.values()) for record in records] == [
        ["a", "cifar10", "0", "negative", "0.25", "0.0", "2"],
        ["a", "cifar10", "1", "positive", "0.75", "0.0", "2"],
    ]
