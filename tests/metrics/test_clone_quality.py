import math

import pytest
import torch
from torch import Tensor

from lightning_extract.metrics import CloneQuality


def answers(count: int, seed: int) -> Tensor:
    return (2 * torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))).softmax(dim=1)


def slow_quality(clone: Tensor, victim: Tensor, labels: Tensor) -> dict[str, float]:
    correct = agreed = divergence = 0.0
    for mine, true, label in zip(clone.tolist(), victim.tolist(), labels.tolist(), strict=True):
        choice = mine.index(max(mine))
        correct += choice == label
        agreed += choice == true.index(max(true))
        divergence += sum(p * math.log(p / q) for p, q in zip(true, mine, strict=True))
    return {"accuracy": correct / len(labels), "agreement": agreed / len(labels), "kl": divergence / len(labels)}


def test_equals_a_slow_version_over_unequal_batches() -> None:
    clone, victim = answers(50, 0), answers(50, 1)
    labels = torch.randint(4, (50,), generator=torch.Generator().manual_seed(2))
    quality = CloneQuality()
    for start, stop in ((0, 7), (7, 8), (8, 50)):
        quality.update(clone[start:stop], victim[start:stop], labels[start:stop])
    found = {name: value.item() for name, value in quality.compute().items()}
    assert found == pytest.approx(slow_quality(clone, victim, labels), rel=1e-5)
    assert 0 < found["agreement"] != found["accuracy"] > 0


def test_divergence_is_from_victim_to_clone() -> None:
    quality = CloneQuality()
    quality.update(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
    assert quality.compute()["kl"].item() == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1))


def test_probabilities_of_zero_are_finite() -> None:
    quality = CloneQuality()
    quality.update(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert quality.compute()["kl"] == 0
    quality.update(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
    assert quality.compute()["kl"].isfinite()
    assert quality.compute()["agreement"] == 0.5


def test_counts_of_two_processes_are_summed() -> None:
    clone, victim, labels = answers(30, 0), answers(30, 1), torch.zeros(30, dtype=torch.int64)
    whole, first, second = CloneQuality(), CloneQuality(), CloneQuality()
    whole.update(clone, victim, labels)
    first.update(clone[:10], victim[:10], labels[:10])
    second.update(clone[10:], victim[10:], labels[10:])
    first.merge_state(second)
    for name, value in whole.compute().items():
        assert first.compute()[name].item() == pytest.approx(value.item(), rel=1e-5), name


def test_reset_forgets() -> None:
    quality = CloneQuality()
    quality.update(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.9, 0.1]]), torch.tensor([0]))
    quality.reset()
    quality.update(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.1, 0.9]]), torch.tensor([1]))
    assert quality.compute()["accuracy"] == 0
