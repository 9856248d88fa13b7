import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_extract.data import pool_conversion, pool_sources
from lightning_extract.data.image_set import convert_images
from lightning_extract.data.imagenet_batches import IMAGENET_SIZES, read_imagenet_batch
from lightning_extract.data.pool_reading import read_pool
from lightning_extract.data.pools import ImagePool
from lightning_extract.errors import InputError

ROOT = "data"


def images_of(pool: str, image_size: int, channels: int, **choice: Any) -> Tensor:
    found = read_pool(pool, ROOT, image_size, channels, **choice)
    assert isinstance(found, ImagePool)
    return found.images


def write_imagenet(pool: str, counts: dict[str, int]) -> NDArray[np.uint8]:
    """Writes batches as their published files have them; returns the images in the order of the batches' names."""
    size, random, parts = IMAGENET_SIZES[pool], np.random.default_rng(0), []
    Path(ROOT, pool).mkdir(parents=True)
    for name, count in counts.items():
        parts.append(random.integers(0, 256, (count, 3 * size**2)).astype(np.uint8))
        content = {"data": parts[-1], "labels": [*range(1, count + 1)], "mean": parts[-1].mean(axis=0)}
        if name.endswith(".npz"):
            np.savez(Path(ROOT, pool, name), **content)
        else:
            Path(ROOT, pool, name).write_bytes(pickle.dumps(content, 2))
    return np.concatenate(parts).reshape(-1, 3, size, size)


def test_downsampled_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_conversion, "CHUNK", 4)  # some chunks lie in two batches
    counts = {"train_data_batch_1": 5, "train_data_batch_3.npz": 6, "val_data": 3}
    expected = torch.from_numpy(write_imagenet("imagenet8", counts))
    pool = read_pool("imagenet8", ROOT, 8, 3)
    assert isinstance(pool, ImagePool)
    assert torch.equal(pool.images, expected)
    assert pool.classes == ()
    assert vars(pool).keys() == {"images", "order", "classes"}
    assert torch.equal(images_of("imagenet8", 4, 1), convert_images(expected, 4, 1))
    chosen = images_of("imagenet8", 8, 3, limit=7, seed=2)
    assert all((image == expected).flatten(1).all(dim=1).any() for image in chosen)
    assert torch.equal(images_of("imagenet8", 8, 3, limit=7, seed=2, cache="kept"), chosen)
    assert torch.equal(images_of("imagenet8", 8, 3, limit=7, seed=2, cache="kept"), chosen)


def test_one_batch_of_imagenet_is_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    read, alive = read_imagenet_batch, list[weakref.ref[Any]]()

    def watched(path: Path, image_size: int) -> NDArray[np.uint8]:
        assert [reference() for reference in alive if reference() is not None] == []
        images = read(path, image_size)
        alive.append(weakref.ref(images))
        return images

    monkeypatch.setattr(pool_sources, "read_imagenet_batch", watched)
    write_imagenet("imagenet8", {"train_data_batch_1": 5})
    images_of("imagenet8", 8, 3)
    assert len(alive) == 1
    write_imagenet("imagenet16", {f"train_data_batch_{number}": 5 for number in range(1, 4)})
    images_of("imagenet16", 8, 3)
    assert len(alive) == 1 + 2 * 3  # counted, then converted


def test_there_are_no_labels_to_choose_by() -> None:
    write_imagenet("imagenet8", {"val_data": 2})
    with pytest.raises(InputError, match="the images of pool 'imagenet8' have no labels; remove it, or give"):
        read_pool("imagenet8", ROOT, 8, 3, classes=(1,))


def test_a_damaged_batch_is_named() -> None:
    write_imagenet("imagenet8", {"train_data_batch_1": 2})
    Path(ROOT, "imagenet8", "train_data_batch_2").write_bytes(b"no batch")
    with pytest.raises(InputError, match=r"imagenet8/train_data_batch_2 cannot be read as a batch"):
        read_pool("imagenet8", ROOT, 8, 3)
