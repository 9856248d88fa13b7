import pytest
import torch
from torch import Tensor

from lightning_extract.data.augmentation import random_crop_and_flip
from lightning_extract.data.draws import IterationDraws


def draws(seed: int, rank: int = 0, world_size: int = 1) -> IterationDraws:
    return IterationDraws(seed, rank, world_size, torch.device("cpu"))


def numbered(count: int, size: int = 4) -> Tensor:
    """Each pixel holds its own number, from 1."""
    return torch.arange(1.0, size * size + 1).view(1, 1, size, size).expand(count, 2, size, size)


def test_every_place_and_both_directions_come_equally_often() -> None:
    count, padding, fill = 20_000, 1, -0.5
    padded = torch.full((2, 6, 6), fill)
    padded[:, 1:5, 1:5] = numbered(1)[0]
    windows = [padded[:, top : top + 4, left : left + 4] for top in range(3) for left in range(3)]
    found = random_crop_and_flip(numbered(count), draws(0), padding, fill)
    for window in windows + [window.flip(2) for window in windows]:
        share = (found == window).flatten(1).all(dim=1).double().mean().item()
        assert share == pytest.approx(1 / 18, abs=0.01)


def test_defaults_pad_four_pixels_of_mid_gray() -> None:
    found = random_crop_and_flip(torch.ones(500, 3, 8, 8), draws(1))
    assert set(found.unique().tolist()) == {0, 1}
    assert set(found.mean(dim=(1, 3)).count_nonzero(dim=1).tolist()) == {4, 5, 6, 7, 8}


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_give_the_images_of_one(processes: int) -> None:
    images = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    parts = images.chunk(processes)
    shares = [random_crop_and_flip(part, draws(5, rank, processes)) for rank, part in enumerate(parts)]
    assert torch.equal(torch.cat(shares), random_crop_and_flip(images, draws(5)))
    assert not torch.equal(random_crop_and_flip(images, draws(6)), random_crop_and_flip(images, draws(5)))
