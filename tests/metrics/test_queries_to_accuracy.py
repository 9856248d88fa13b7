from lightning_extract.metrics import QueriesToAccuracy


def test_first_reach_counts_and_is_kept() -> None:
    reached = QueriesToAccuracy([0.9, 0.5, 0.7])
    for accuracy, queries in ((0.1, 0), (0.5, 256), (0.75, 512), (0.4, 768), (0.8, 1024)):
        reached.update(accuracy, queries)
    assert reached.queries == {0.9: None, 0.5: 256, 0.7: 512}


def test_reached_before_any_query_is_zero_not_none() -> None:
    reached = QueriesToAccuracy([0.1])
    reached.update(0.2, queries=0)
    reached.update(0.3, queries=256)
    assert reached.queries == {0.1: 0}


def test_without_goals_nothing_is_kept() -> None:
    reached = QueriesToAccuracy([])
    reached.update(1.0, queries=1)
    assert reached.queries == {}
