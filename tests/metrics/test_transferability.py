import math

import pytest
import torch
from torch import Tensor

from lightning_extract.metrics.transferability import Transferability


def answers(count: int, seed: int) -> Tensor:
    return (2 * torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))).softmax(dim=1)


def slow_count(given: Tensor, classes: Tensor, targeted: bool) -> int:
    count = 0
    for row, label in zip(given.tolist(), classes.tolist(), strict=True):
        choice = row.index(max(row))
        count += choice == label if targeted else choice != label
    return count


def wilson(successes: int, samples: int, z: float = 1.959964) -> list[float]:
    share = successes / samples
    middle = share + z**2 / (2 * samples)
    reach = z * math.sqrt(share * (1 - share) / samples + z**2 / (4 * samples**2))
    return [(middle + sign * reach) / (1 + z**2 / samples) for sign in (-1, 1)]


@pytest.mark.parametrize("targeted", [False, True])
def test_equals_a_slow_version_over_unequal_batches(targeted: bool) -> None:
    victim, clone, noise = (answers(60, seed) for seed in (0, 2, 4))
    classes = torch.randint(4, (60,), generator=torch.Generator().manual_seed(3))
    metric = Transferability(targeted)
    for start, stop in ((0, 7), (7, 8), (8, 60)):
        metric.update(victim[start:stop], clone[start:stop], noise[start:stop], classes[start:stop])
    successes, on_clone, by_noise = (slow_count(given, classes, targeted) for given in (victim, clone, noise))
    assert len({0, successes, on_clone, by_noise}) == 4
    found = metric.compute()
    assert found.pop("interval") == pytest.approx(wilson(successes, 60), abs=1e-6)
    assert found == {
        "samples": 60,
        "successes": successes,
        "rate": successes / 60,
        "clone_rate": on_clone / 60,
        "noise_rate": by_noise / 60,
    }


@pytest.mark.parametrize("successes", [0, 10])
def test_the_interval_of_none_and_of_all(successes: int) -> None:
    metric = Transferability(targeted=True)
    given = torch.tensor([[1.0, 0.0]]).expand(10, 2)
    metric.update(given, given, given, torch.full((10,), 0 if successes else 1))
    found = metric.compute()
    assert found["rate"] == successes / 10
    assert found["interval"] == pytest.approx([0.7225, 1] if successes else [0, 0.2775], abs=1e-4)


def test_counts_of_two_processes_are_summed() -> None:
    victim, clone, noise = (answers(30, seed) for seed in range(3))
    classes = torch.zeros(30, dtype=torch.int64)
    whole, first, second = (Transferability(targeted=False) for _ in range(3))
    whole.update(victim, clone, noise, classes)
    first.update(victim[:10], clone[:10], noise[:10], classes[:10])
    second.update(victim[10:], clone[10:], noise[10:], classes[10:])
    first.merge_state(second)
    assert first.compute() == whole.compute()


def test_reset_forgets() -> None:
    metric, given = Transferability(targeted=False), torch.tensor([[1.0, 0.0]])
    metric.update(given, given, given, torch.tensor([1]))
    metric.reset()
    metric.update(given, given, given, torch.tensor([0]))
    assert (metric.compute()["samples"], metric.compute()["rate"]) == (1, 0.0)
