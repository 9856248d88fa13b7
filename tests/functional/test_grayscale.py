import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_extract.functional.grayscale import grayscale


def images(count: int, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, 2, 2, generator=torch.Generator().manual_seed(count))


def slow_grayscale(batch: Tensor, every: int, channel: int) -> Tensor:
    changed = batch.clone()
    for position in range(0, len(batch), every):
        for other in range(batch.shape[1]):
            changed[position, other] = batch[position, channel]
    return changed


@pytest.mark.parametrize("every", [1, 2, 3, 8])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_equals_a_slow_version(every: int, channel: int) -> None:
    batch = images(27)
    assert torch.equal(grayscale(batch, 1 / every, channel), slow_grayscale(batch, every, channel))


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_shares_of_several_processes_equal_the_global_batch(processes: int) -> None:
    batch = images(48)
    size = len(batch) // processes
    shares = [grayscale(share, 1 / 5, 2, offset=rank * size) for rank, share in enumerate(batch.split(size))]
    assert torch.equal(torch.cat(shares), slow_grayscale(batch, 5, 2))


def test_fraction_is_the_share_of_gray_images() -> None:
    batch = images(400)
    for fraction in (0.0, 0.05, 0.3, 0.625, 1.0):
        changed = (grayscale(batch, fraction, 0) != batch).flatten(1).any(dim=1).sum().item()
        assert abs(changed - fraction * 400) <= 1, fraction


def test_gradient_reaches_the_chosen_channel_only() -> None:
    batch = images(16).requires_grad_()
    grayscale(batch, 1 / 8, 1).sum().backward()
    expected = torch.ones(16, 3, 2, 2)
    expected[::8, 0] = expected[::8, 2] = 0  # overwritten; the copies of channel 1 are detached
    assert_close(batch.grad, expected)


def test_nothing_to_do_gives_the_images_themselves() -> None:
    batch, single = images(8), images(8, channels=1)
    assert grayscale(batch, 0.0, 0) is batch
    assert grayscale(single, 1.0, 0) is single
    assert torch.equal(grayscale(batch[1:3], 1 / 8, 0, offset=1), batch[1:3])  # neither is a multiple of 8
