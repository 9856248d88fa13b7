import pytest
import torch

from lightning_extract.errors import InputError
from lightning_extract.selection import STRATEGIES, StrategyName
from tests.selection.made_up import made_up_candidates, softmax_outputs

strategies = pytest.mark.parametrize("name", STRATEGIES)


@strategies
@pytest.mark.parametrize("count", [-1, 0, 6])
def test_no_more_than_there_are_can_be_chosen_and_no_fewer_than_one(name: StrategyName, count: int) -> None:
    candidates = made_up_candidates(softmax_outputs(20, 3, seed=0))
    with pytest.raises(
        InputError, match=f"{count} samples shall be chosen among 5 unbought ones; give a number from 1"
    ):
        STRATEGIES[name](candidates, torch.arange(5), count)


@strategies
@pytest.mark.parametrize("count", [1, 7, 12])
def test_the_choice_is_of_the_given_and_distinct(name: StrategyName, count: int) -> None:
    outputs = softmax_outputs(40, 3, seed=0)
    candidates = made_up_candidates(outputs, outputs[:5], distances=lambda indices: outputs[indices, 0])
    among = torch.arange(3, 39, 3)
    chosen = STRATEGIES[name](candidates, among, count)
    assert chosen.dtype == torch.int64
    assert len(set(chosen.tolist())) == len(chosen) == count
    assert set(chosen.tolist()) <= set(among.tolist())


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "random"])
def test_of_equals_the_first_is_chosen(name: StrategyName) -> None:
    candidates = made_up_candidates(
        torch.full((9, 4), 0.25), torch.eye(4), distances=lambda indices: torch.ones(len(indices))
    )
    assert STRATEGIES[name](candidates, torch.tensor([2, 3, 5, 8]), 3).tolist() == [2, 3, 5]
