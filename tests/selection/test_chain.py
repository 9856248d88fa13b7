import pytest
import torch

from lightning_extract.errors import InputError
from lightning_extract.selection import (
    Candidates,
    StrategyName,
    select,
    select_adversarial,
    select_kcenter,
    select_random,
    select_uncertain,
)
from tests.selection.made_up import made_up_candidates, softmax_outputs

OUTPUTS, CENTRES = softmax_outputs(60, 4, seed=0), softmax_outputs(10, 4, seed=1)
DISTANCES = torch.rand(60, generator=torch.Generator().manual_seed(2))


def fresh_candidates(seed: int = 0) -> Candidates:
    return made_up_candidates(OUTPUTS, CENTRES, distances=lambda indices: DISTANCES[indices], seed=seed)


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("random", select_random),
        ("uncertainty", select_uncertain),
        ("kcenter", select_kcenter),
        ("adversarial", select_adversarial),
    ],
)
def test_one_strategy_is_itself(name: StrategyName, strategy: object) -> None:
    assert callable(strategy)
    expected = strategy(fresh_candidates(), torch.arange(60), 7)
    assert select(fresh_candidates(), [name], 7, survivors=20).equal(expected)


def test_the_published_chain() -> None:
    nearest = sorted(range(60), key=lambda index: float(DISTANCES[index]))[:20]
    expected = select_kcenter(fresh_candidates(), torch.tensor(sorted(nearest)), 7)
    assert select(fresh_candidates(), ["adversarial", "kcenter"], 7, survivors=20).equal(expected)


def test_three_strategies() -> None:
    candidates = fresh_candidates()
    first = select_random(candidates, torch.arange(60), 30).sort().values
    second = select_uncertain(candidates, first, 30).sort().values
    assert second.equal(first)
    expected = select_adversarial(candidates, first, 7)
    assert select(fresh_candidates(), ["random", "uncertainty", "adversarial"], 7, survivors=30).equal(expected)


def test_the_order_matters() -> None:
    one, other = (
        select(fresh_candidates(), order, 7, 20) for order in (["adversarial", "kcenter"], ["kcenter", "adversarial"])
    )
    assert set(one.tolist()) != set(other.tolist())


def test_a_filter_keeps_as_many_as_are_chosen() -> None:
    expected = select_uncertain(fresh_candidates(), torch.arange(60), 7).sort().values
    assert select(fresh_candidates(), ["uncertainty", "random"], 7, survivors=2).sort().values.equal(expected)


@pytest.mark.parametrize("survivors", [60, 1_000])
def test_a_filter_that_all_survive_is_skipped(survivors: int) -> None:
    candidates = made_up_candidates(OUTPUTS, CENTRES)  # whose distances must not be asked for
    expected = select_kcenter(candidates, torch.arange(60), 7)
    assert select(candidates, ["adversarial", "kcenter"], 7, survivors).equal(expected)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="61 samples shall be chosen among 60 unbought ones"):
        select(made_up_candidates(OUTPUTS), ["adversarial", "random"], 61, survivors=100)
    with pytest.raises(InputError, match=r"strategies are \['margin'\]; give one or more of random, uncertainty"):
        select(fresh_candidates(), ["margin"], 1, survivors=1)  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"strategies are \[\]"):
        select(fresh_candidates(), [], 1, survivors=1)
