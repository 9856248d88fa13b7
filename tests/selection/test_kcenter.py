import pytest
import torch
from torch import Tensor

from lightning_extract.selection import kcenter, select_kcenter
from tests.selection.made_up import made_up_candidates, softmax_outputs


def naive_kcenter(outputs: Tensor, centres: Tensor, count: int) -> list[int]:
    """Squared distances in float64, in the order of the classes, with a picked point at -1."""
    points, chosen = outputs.double(), list[int]()
    nearest = torch.full((len(points),), torch.inf, dtype=torch.float64)
    for place in [*centres.double(), *[None] * count]:
        if place is None:
            chosen.append(int(nearest.argmax()))
            place = points[chosen[-1]]
        squares = torch.zeros(len(points), dtype=torch.float64)
        for label in range(points.shape[1]):
            squares += (points[:, label] - place[label]) ** 2
        nearest = nearest.minimum(squares)
        nearest[chosen] = -1
    return chosen


def choice(outputs: Tensor, centres: Tensor | None, count: int) -> list[int]:
    return select_kcenter(made_up_candidates(outputs, centres), torch.arange(len(outputs)), count).tolist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 10, 43])
@pytest.mark.parametrize("sharpness", [1.0, 4.0, 20.0, 60.0])
def test_the_choice_is_the_naive_one(seed: int, classes: int, sharpness: float) -> None:
    outputs = softmax_outputs(2_000, classes, seed, sharpness)
    centres = softmax_outputs(100, classes, seed + 100, sharpness)
    assert choice(outputs, centres, 200) == naive_kcenter(outputs, centres, 200)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, centres = softmax_outputs(300, 5, seed=0), softmax_outputs(40, 5, seed=1)
    expected = choice(outputs, centres, 50)
    for pairs in (1, 70, 1_000):
        monkeypatch.setattr(kcenter, "PAIRS", pairs)
        assert choice(outputs, centres, 50) == expected


def test_by_hand() -> None:
    outputs = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.0, 1.0], [1.0, 0.0], [0.3, 0.7]])
    # By their first output, 0.5, 0.9, 0, 1 and 0.3, from 0.6: 0 is farthest, then 1, then 0.3; 0.5 and 0.9 come last,
    # both 0.1 from their centres, where 0.9 is so in float32 by a hair more.
    assert choice(outputs, torch.tensor([[0.6, 0.4]]), 5) == [2, 3, 4, 1, 0]


def test_equal_points_are_taken_once_each() -> None:
    outputs = torch.eye(3)[[0, 1, 0, 1, 0]]
    assert choice(outputs, torch.eye(3), 5) == [0, 1, 2, 3, 4]


def test_without_centres_the_first_is_the_start() -> None:
    outputs = softmax_outputs(50, 4, seed=0)
    found = select_kcenter(made_up_candidates(outputs), torch.arange(20, 50), 10).tolist()
    assert found == [20, *(20 + index for index in naive_kcenter(outputs[20:], outputs[20:21], 9))]


def test_outputs_that_are_no_numbers_are_taken_once_each() -> None:
    outputs = softmax_outputs(6, 3, seed=0)
    outputs[[1, 4]] = torch.nan
    assert sorted(choice(outputs, outputs[:1], 6)) == list(range(6))
