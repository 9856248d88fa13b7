import numpy as np
import pytest

from lightning_extract.reports.discovery import describe_discovery, discovery_curve, victim_classes

HISTORY = [[256, 9], [12_345, 43]]


def summary(history=HISTORY, total=43):
    return {"class_discovery": history, "queries": {"spent": 20_000}, "victim": {"num_classes": total}}


@pytest.mark.parametrize(
    ("history", "queries", "found"),
    [
        (HISTORY, [0, 256, 12_345, 20_000], [0, 9, 43, 43]),
        ([[256, 9], [20_000, 10]], [0, 256, 20_000], [0, 9, 10]),
        ([[0, 5], [256, 9]], [0, 256, 20_000], [5, 9, 9]),  # clones that knew classes from their start
        ([], [0, 20_000], [0, 0]),
    ],
)
def test_the_curve_goes_from_no_query_to_the_last(history, queries, found):
    curve = discovery_curve(summary(history))
    assert curve is not None
    np.testing.assert_array_equal(curve.queries, queries)
    np.testing.assert_array_equal(curve.values, found)


def test_the_line_says_how_many_and_when_the_last():
    assert describe_discovery(summary()) == "classes found: 43 of 43, the last after 12,345 queries"
    assert describe_discovery(summary(total=None)) == "classes found: 43, the last after 12,345 queries"
    assert describe_discovery(summary([])) == "classes found: 0 of 43"


def test_an_attack_that_knew_the_classes_found_none():
    for known in (summary(None), {"queries": {"spent": 20_000}, "victim": {}}):
        assert discovery_curve(known) is None
        assert describe_discovery(known) is None
    assert victim_classes({"victim": {}}) is None
