import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_extract.data.heldout import HeldOutAnswers

CPU = torch.device("cpu")


def batch(number: int) -> tuple[Tensor, Tensor]:
    return torch.full((2, 1, 1, 1), number / 100), torch.full((2,), number)


def kept(heldout: HeldOutAnswers) -> list[int]:
    return [int(answers[0]) for _, answers in heldout.batches]


def test_memory_is_bounded_and_the_first_batches_fill_it() -> None:
    heldout, rng = HeldOutAnswers(capacity=4), random.Random(0)
    for number in range(50):
        heldout.add(*batch(number), rng)
        assert len(heldout.batches) == min(number + 1, 4)
        if number == 3:
            assert kept(heldout) == [0, 1, 2, 3]
    assert heldout.seen == 50
    assert len(set(kept(heldout))) == 4
    for samples, answers in heldout.batches:  # samples stay with their answers
        assert samples[0].item() == pytest.approx(int(answers[0]) / 100)


@pytest.mark.parametrize(("capacity", "stream"), [(2, 3), (4, 40)])
def test_early_and_late_batches_are_kept_equally_often(capacity: int, stream: int) -> None:
    rng, batches, repeats = random.Random(0), [batch(number) for number in range(stream)], 3000
    counts = [0] * stream
    for _ in range(repeats):
        heldout = HeldOutAnswers(capacity)
        for samples, answers in batches:
            heldout.add(samples, answers, rng)
        for number in kept(heldout):
            counts[number] += 1
    share = capacity / stream
    deviation = (repeats * share * (1 - share)) ** 0.5
    assert all(abs(count - repeats * share) < 5 * deviation for count in counts), counts


def test_state_survives_a_checkpoint(tmp_path: Path) -> None:
    original, restored = HeldOutAnswers(capacity=3), HeldOutAnswers(capacity=3)
    rng = random.Random(0)
    for number in range(7):
        original.add(*batch(number), rng)
    torch.save(original.state_dict(), tmp_path / "state.pt")
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), CPU)
    assert kept(restored) == kept(original)
    for number in range(7, 30):  # and goes on alike
        original.add(*batch(number), random.Random(number))
        restored.add(*batch(number), random.Random(number))
    assert kept(restored) == kept(original)
    assert restored.seen == 30
