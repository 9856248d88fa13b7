import torch
from torch import Tensor

from lightning_extract.selection import select_adversarial
from tests.selection.made_up import made_up_candidates, softmax_outputs

OUTPUTS = softmax_outputs(30, 2, seed=0)
DISTANCES = torch.randperm(30, generator=torch.Generator().manual_seed(1)).float()


def test_the_smallest_distances_are_chosen() -> None:
    among = torch.arange(1, 30, 2)
    candidates = made_up_candidates(OUTPUTS, distances=lambda indices: DISTANCES[indices])
    expected = sorted(among.tolist(), key=lambda index: float(DISTANCES[index]))[:6]
    assert select_adversarial(candidates, among, 6).tolist() == expected


def test_a_sample_without_a_boundary_comes_last() -> None:
    distances = torch.tensor([torch.inf, 3.0, torch.inf, 1.0])
    candidates = made_up_candidates(OUTPUTS[:4], distances=lambda indices: distances[indices])
    assert select_adversarial(candidates, torch.arange(4), 3).tolist() == [3, 1, 0]


def asked_with(measured: int | None, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The indices whose distance was asked for, and the choice."""
    asked: list[Tensor] = []

    def distances(indices: Tensor) -> Tensor:
        asked.append(indices)
        return DISTANCES[indices]

    candidates = made_up_candidates(OUTPUTS, distances=distances, seed=seed, measured=measured)
    chosen = select_adversarial(candidates, torch.arange(5, 30), count)
    assert len(asked) == 1
    return asked[0], chosen


def test_a_limit_measures_a_random_part() -> None:
    asked, chosen = asked_with(8, count=3)
    assert len(set(asked.tolist())) == 8
    assert asked.min() >= 5
    assert chosen.tolist() == sorted(asked.tolist(), key=lambda index: float(DISTANCES[index]))[:3]
    assert asked_with(8, count=3)[0].equal(asked)
    assert not asked_with(8, count=3, seed=1)[0].equal(asked)


def test_as_many_are_measured_as_are_chosen_and_no_more_than_there_are() -> None:
    assert len(asked_with(2, count=10)[0]) == 10
    assert asked_with(26, count=3)[0].tolist() == asked_with(None, count=3)[0].tolist() == list(range(5, 30))
