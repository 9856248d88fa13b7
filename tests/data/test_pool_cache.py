import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightning_extract.data import pool_conversion, pool_reading
from lightning_extract.data.draws import IterationDraws
from lightning_extract.data.mnist5k import read_mnist5k
from lightning_extract.data.pool_cache import cache_file, read_cached_pool, write_cached_pool
from lightning_extract.data.pool_reading import read_pool
from lightning_extract.data.pools import ImagePool
from lightning_extract.data.shape_pool import write_shapes
from lightning_extract.data.shapes import SyntheticShapes
from lightning_extract.errors import InputError
from tests.image_folders import write_image_folder

CACHE = Path("kept")
PATH = CACHE / "pool_0.npy"
SHAPE = (3, 4, 4)
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (20, *SHAPE)).astype(np.uint8))


def pool(name: str | Path, image_size: int = 8, channels: int = 3, **choice: Any) -> ImagePool:
    found = read_pool(str(name), choice.pop("root", "data"), image_size, channels, **choice)
    assert isinstance(found, ImagePool)
    return found


def files() -> list[str]:
    return sorted(path.name for path in CACHE.iterdir()) if CACHE.exists() else []


def is_mapped(images: Tensor) -> bool:
    """Whether the tensor's memory is a file's, as the operating system sees it."""
    ranges = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    for extent, *_, name in (each for each in ranges if len(each) == 6):
        first, last = (int(number, 16) for number in extent.split("-"))
        if first <= images.data_ptr() < last:
            return name.endswith(".npy")
    return False


# The file.


def test_what_is_written_is_read() -> None:
    write_cached_pool(PATH, 20, SHAPE, torch.split(IMAGES, 7), ("bird", "cat"))
    images, classes = read_cached_pool(PATH, SHAPE)
    assert torch.equal(images, IMAGES)
    assert classes == ("bird", "cat")
    assert np.array_equal(np.load(PATH), IMAGES.numpy())
    assert files() == ["pool_0.json", "pool_0.npy"]  # nothing else is left


def test_an_interrupted_run_leaves_no_file() -> None:
    def stop() -> Iterator[Tensor]:
        yield IMAGES[:7]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cached_pool(PATH, 20, SHAPE, stop(), ())
    assert files() == []


def test_a_folder_that_cannot_be_written_to_is_named() -> None:
    CACHE.write_text("a file")
    with pytest.raises(InputError, match=r"pool_cache is 'kept', where pool_0.npy cannot be written \(File exists\)"):
        write_cached_pool(PATH, 20, SHAPE, [IMAGES], ())


@pytest.mark.parametrize("damage", ["cut", "header", "empty", "classes", "shape", "type"])
def test_a_damaged_file_is_named(damage: str) -> None:
    write_cached_pool(PATH, 20, SHAPE, [IMAGES], ())
    content = PATH.read_bytes()
    if damage in ("cut", "header", "empty"):
        PATH.write_bytes(content[: {"cut": 500, "header": 20, "empty": 0}[damage]])
    elif damage == "classes":
        PATH.with_suffix(".json").unlink()
    else:
        np.save(PATH, IMAGES[:, :1].numpy() if damage == "shape" else IMAGES.int().numpy())
    with pytest.raises(InputError, match=r"kept/pool_0.npy is damaged; remove it, and the next run writes it anew"):
        read_cached_pool(PATH, SHAPE)


def test_the_place_hangs_on_request_and_files() -> None:
    for name in ("a.png", "b.png"):
        Path(name).write_text("1")
    both = [Path("a.png"), Path("b.png")]
    first = cache_file("kept", {"limit": 1}, both)
    assert first.parent == CACHE
    assert cache_file("kept", {"limit": 1}, [Path("b.png").absolute(), Path("a.png").absolute()][::-1]) == first
    others = {cache_file("kept", {"limit": 2}, both), cache_file("kept", {"limit": 1}, both[:1])}
    Path("b.png").write_text("12")
    os.utime("b.png", ns=(0, 0))
    others.add(cache_file("kept", {"limit": 1}, both))
    os.utime("b.png", ns=(0, 1))
    others.add(cache_file("kept", {"limit": 1}, both))
    assert len(others | {first}) == 5


def test_a_file_that_cannot_be_looked_at_is_named() -> None:
    Path("lost.png").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"lost.png cannot be read \(No such file or directory\); repair or remove it"):
        cache_file("kept", {}, [Path("lost.png")])


# Pools that are kept.


@pytest.mark.parametrize("chunk", [5, 512])
def test_a_kept_pool_is_the_pool_in_memory(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_conversion, "CHUNK", chunk)
    np.savez("pool.npz", IMAGES.numpy())
    write_image_folder(Path("tree"))
    draws = IterationDraws(0, 0, 1, torch.device("cpu"))
    for name in ("pool.npz", "tree", "mnist5k"):
        choice: dict[str, Any] = {"limit": 9, "seed": 3} | ({} if name == "pool.npz" else {"classes": (1,)})
        memory = pool(name, **choice)
        for _ in range(2):
            kept = pool(name, cache="kept", **choice)
            assert is_mapped(kept.images)
            assert not is_mapped(memory.images)
            assert torch.equal(kept.images, memory.images)
            assert (kept.classes, kept.size) == (memory.classes, memory.size)
            assert torch.equal(kept.batch(4, 20, draws), memory.batch(4, 20, draws))
    assert len(files()) == 6


def test_a_later_run_reads_the_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    write_image_folder(Path("tree"))
    first = pool("tree", cache="kept")
    monkeypatch.setattr(pool_reading, "folder_source", None)
    assert torch.equal(pool("tree/", cache="kept").images, first.images)
    assert torch.equal(pool(Path("tree").absolute(), cache="kept").images, first.images)
    assert pool("tree", cache="kept", seed=5).order.seed == 5  # whole pools are shared by all seeds


def test_a_changed_source_is_converted_anew() -> None:
    write_image_folder(Path("tree"))
    first = pool("tree", cache="kept").images.clone()
    Image.new("RGB", (8, 8), (250, 0, 0)).save("tree/train/bird/000.png")
    changed = pool("tree", cache="kept").images
    assert (changed != first).flatten(1).any(1).tolist() == [True] + 11 * [False]
    Image.new("RGB", (8, 8)).save("tree/train/cat/more.png")
    assert pool("tree", cache="kept").size == 13


def test_other_requests_have_other_files() -> None:
    write_image_folder(Path("tree"))
    for choice in ({}, {"image_size": 4}, {"channels": 1}, {"classes": (0,)}, {"classes": ("cat",)}, {"limit": 5}):
        pool("tree", cache="kept", **choice)
    pool("tree", cache="kept", limit=5, seed=1)
    pool("uniform_noise", cache="kept", limit=5)
    pool("gaussian_noise", cache="kept", limit=5)
    assert len(files()) == 2 * 9


def test_the_classes_of_a_folder_are_numbered_anew() -> None:
    write_image_folder(Path("tree"))
    birds = pool("tree", cache="kept", classes=(1,))
    Path("tree/train/ant").mkdir()
    assert pool("tree", cache="kept", classes=(1,)).classes == ("bird",) != birds.classes


def test_shapes_are_kept_by_their_settings() -> None:
    shapes = SyntheticShapes(count=12, shapes=2, canvas=16, smallest=2, largest=5, cache="drawn")
    write_shapes(shapes, 8, 3)
    memory = pool("synthetic_shapes", shapes=shapes)
    assert torch.equal(pool("synthetic_shapes", shapes=shapes, cache="kept").images, memory.images)
    assert is_mapped(pool("synthetic_shapes", shapes=shapes, cache="kept").images)


def test_what_is_mapped_is_read_without_a_warning() -> None:
    np.savez("pool.npz", IMAGES.numpy())
    np.save("pool.npy", IMAGES.numpy())
    torch.set_warn_always(True)  # else once a process
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for kept in (pool("pool.npz", 4, cache="kept"), pool("pool.npy", 4)):
                chosen = kept.queries(torch.tensor([19, 0, 19]))
                assert torch.equal(chosen, IMAGES[[19, 0, 19]] / 127.5 - 1)
    finally:
        torch.set_warn_always(False)
    assert [str(warning.message) for warning in caught] == []


def test_a_pool_beyond_the_memory_is_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=20 * 8 * 8 * 3 - 1))
    np.savez("pool.npz", IMAGES.numpy())
    with pytest.raises(InputError, match="GB are free; give a folder on disk as pool_cache, set pool_limit or lower"):
        pool("pool.npz")
    assert pool("pool.npz", cache="kept").size == 20


def test_dark_images_are_refused_in_a_kept_pool_too() -> None:
    np.savez("pool.npz", np.ones((20, 4, 4), np.uint8))
    for _ in range(2):
        with pytest.raises(InputError, match=r"no pixel of pool 'pool.npz' is brighter than 1 of 255"):
            pool("pool.npz", cache="kept")


def test_no_labels_are_kept() -> None:
    pool("mnist5k", 28, 1, cache="kept")
    (names,) = CACHE.glob("*.json")
    assert json.loads(names.read_text()) == list("0123456789")
    (images,) = CACHE.glob("*.npy")
    assert images.stat().st_size == 128 + read_mnist5k("train").images.numel()


# Arrays that are what is asked for.


@pytest.mark.parametrize(
    ("saved", "channels", "mapped"),
    [
        (IMAGES, 3, True),
        (IMAGES[:, 0], 1, True),
        (IMAGES[:, :1].permute(0, 2, 3, 1), 1, True),
        (IMAGES.permute(0, 2, 3, 1).contiguous(), 3, False),
        (IMAGES, 1, False),
        (IMAGES[:, 0], 3, False),
    ],
    ids=["N C H W", "N H W", "N H W 1", "N H W C", "colour to grey", "grey to colour"],
)
def test_arrays_as_asked_for_are_mapped(saved: Tensor, channels: int, mapped: bool) -> None:
    np.save("pool.npy", saved.numpy())
    assert is_mapped(pool("pool.npy", 4, channels).images) == mapped
    assert files() == []
    assert is_mapped(pool("pool.npy", 4, channels, cache="kept").images)
    assert len(files()) == (0 if mapped else 2)
    assert torch.equal(pool("pool.npy", 4, channels, cache="kept").images, pool("pool.npy", 4, channels).images)


def test_arrays_in_another_size_or_chosen_from_are_not_mapped() -> None:
    np.save("pool.npy", IMAGES.numpy())
    assert not is_mapped(pool("pool.npy", 8).images)
    assert not is_mapped(pool("pool.npy", 4, limit=19).images)
    assert is_mapped(pool("pool.npy", 4, limit=20).images)
    np.save("pool.npy", np.asfortranarray(IMAGES.numpy()))
    fortran = pool("pool.npy", 4).images
    assert not is_mapped(fortran)
    assert torch.equal(fortran, IMAGES)
