import math

import pytest
import torch

from lightning_extract.metrics import LabelHistogram


def test_entropy_in_nats_and_largest_share() -> None:
    histogram = LabelHistogram(4)
    histogram.update(torch.tensor([0, 0, 1]))
    histogram.update(torch.tensor([0, 3, 3, 0, 0]))
    found = histogram.compute()  # 5, 1, 0 and 2 of 8
    expected = -(5 / 8 * math.log(5 / 8) + 1 / 8 * math.log(1 / 8) + 2 / 8 * math.log(2 / 8))
    assert found["label_entropy"].item() == pytest.approx(expected)
    assert found["label_top_share"].item() == 5 / 8


def test_limits() -> None:
    uniform, single, empty = LabelHistogram(10), LabelHistogram(10), LabelHistogram(10)
    uniform.update(torch.arange(10).repeat(7))
    single.update(torch.full((9,), 4))
    assert uniform.compute()["label_entropy"].item() == pytest.approx(math.log(10))
    assert uniform.compute()["label_top_share"].item() == pytest.approx(0.1)
    assert (single.compute()["label_entropy"].item(), single.compute()["label_top_share"].item()) == (0, 1)
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        nothing = empty.compute()
    assert (nothing["label_entropy"].item(), nothing["label_top_share"].item()) == (0, 0)


def test_counts_of_two_processes_are_summed_and_reset_forgets() -> None:
    first, second = LabelHistogram(2), LabelHistogram(2)
    first.update(torch.tensor([0, 0, 0]))
    second.update(torch.tensor([1]))
    first.merge_state(second)
    assert first.compute()["label_top_share"].item() == 0.75
    first.reset()
    first.update(torch.tensor([1]))
    assert first.compute()["label_top_share"].item() == 1


def test_counts_beyond_float32_are_exact() -> None:
    histogram = LabelHistogram(2)
    histogram.counts += torch.tensor([2**24, 0])
    histogram.update(torch.tensor([0]))
    assert histogram.counts.tolist() == [2**24 + 1, 0]
