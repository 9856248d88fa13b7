import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from lightning_extract.data.image_files import read_image_folder
from lightning_extract.data.pool_sources import PoolSource, array_source, folder_source, image_files
from lightning_extract.errors import InputError
from tests.image_folders import write_image_folder

FOLDER = Path("pool")


def everything(source: PoolSource) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = source.read(torch.arange(source.count)).numpy()
    return images


def grey(path: Path, value: int, size: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (size, size), value).save(path)


def pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


# Folders.


def test_of_a_data_set_folder_only_the_training_tree_is_read() -> None:
    write_image_folder(FOLDER)
    source, expected = folder_source(FOLDER, 8, 3), read_image_folder(FOLDER, "train", 8, 3)
    assert np.array_equal(everything(source), expected.images.numpy())
    assert source.labels is not None
    assert (source.labels.tolist(), source.classes) == (expected.labels.tolist(), expected.classes)


def test_any_other_folder_is_searched_whole_and_in_order() -> None:
    for value, name in enumerate(["a.png", "b/c/d.PNG", "b/z.bmp", "train/e.jpg"]):
        grey(FOLDER / name.lower(), 40 * value)
    (FOLDER / "b/c/d.png").rename(FOLDER / "b/c/d.PNG")
    (FOLDER / "notes.txt").write_text("no image")
    source = folder_source(FOLDER, 4, 1)
    assert everything(source)[:, 0, 0, 0].tolist() == [0, 40, 80, 120]
    assert source.labels is None
    assert source.read(torch.tensor([3, 1]))[:, 0, 0, 0].tolist() == [120, 40]


def test_linked_folders_are_searched() -> None:
    grey(Path("elsewhere/cat/1.png"), 200)
    FOLDER.mkdir()
    (FOLDER / "cat").symlink_to(Path("elsewhere/cat").resolve())
    assert everything(folder_source(FOLDER, 4, 1)).max() == 200


def test_folder_images_are_resized_and_converted() -> None:
    grey(FOLDER / "small.png", 7, size=3)
    grey(FOLDER / "wide.png", 9, size=50)
    assert everything(folder_source(FOLDER, 8, 3)).shape == (2, 3, 8, 8)


@pytest.mark.parametrize("content", [b"no image", None])
def test_a_damaged_image_is_named(content: bytes | None) -> None:
    write_image_folder(FOLDER)
    damaged = FOLDER / "train/bird/003.png"
    damaged.write_bytes(content or damaged.read_bytes()[:60])
    with pytest.raises(InputError, match=r"pool/train/bird/003.png cannot be read as an image"):
        everything(folder_source(FOLDER, 8, 3))


def test_an_unreadable_folder_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    grey(FOLDER / "open/1.png", 1)
    grey(FOLDER / "closed/2.png", 2)
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"pool/closed cannot be listed \(Permission denied\); make it readable"):
        list(image_files(FOLDER))


# Array files.

COLOUR, GREY = pixels(5, 6, 6, 3), pixels(5, 6, 7)


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (np.asfortranarray(COLOUR), COLOUR.transpose(0, 3, 1, 2)),
    ],
    ids=["N H W", "N H W 1", "N 1 H W", "N H W 3", "N 3 H W", "Fortran order"],
)
def test_arrays_in_every_layout(saved: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    np.save("pool.npy", saved)
    source = array_source(Path("pool.npy"))
    assert (source.count, source.labels) == (5, None)
    assert np.array_equal(everything(source), expected)
    assert np.array_equal(source.read(torch.tensor([4, 1])).numpy(), expected[[4, 1]])


@pytest.mark.parametrize(
    "arrays", [{"images": COLOUR, "labels": np.arange(5)}, {"x": COLOUR}], ids=["by its key", "the only one"]
)
def test_archives(arrays: dict[str, Any]) -> None:
    np.savez_compressed("pool.npz", **arrays)
    assert np.array_equal(everything(array_source(Path("pool.npz"))), COLOUR.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (GREY / 255, "pool.npy holds float64 values; save its images as uint8, from 0 to 255"),
        (GREY.astype(np.int64), "pool.npy holds int64 values"),
        (GREY > 100, "pool.npy holds bool values"),
        (pixels(5, 42), r"pool.npy has shape \(5, 42\); save its images as \(N, H, W\), \(N, H, W, C\) or"),
        (pixels(5, 6, 7, 4), r"shape \(5, 6, 7, 4\); save its images as .* with 1 or 3 channels"),
        (pixels(2, 3, 4, 4, 3), r"shape \(2, 3, 4, 4, 3\)"),
        (pixels(5, 0, 6, 3), r"shape \(5, 0, 6, 3\); its images must have at least one pixel"),
        (np.array([{"a": 1}], dtype=object), "cannot be read as an array .*; save uint8 images anew with numpy.save"),
    ],
)
def test_other_arrays_are_refused(saved: NDArray[Any], message: str) -> None:
    np.save("pool.npy", saved, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        array_source(Path("pool.npy"))


def test_an_archive_must_say_which_array() -> None:
    np.savez("pool.npz", train=COLOUR, test=COLOUR)
    with pytest.raises(
        InputError, match=r"holds the arrays \['train', 'test'\]; call the one with the images 'images'"
    ):
        array_source(Path("pool.npz"))


@pytest.mark.parametrize("name", ["pool.npy", "pool.npz"])
@pytest.mark.parametrize("keep", [0, 20, 400])
def test_damaged_arrays_are_named(name: str, keep: int) -> None:
    with Path(name).open("wb") as file:
        np.save(file, COLOUR) if name.endswith("npy") else np.savez(file, images=COLOUR)
    Path(name).write_bytes(Path(name).read_bytes()[:keep])
    with pytest.raises(InputError, match=rf"{name} cannot be read as an array \(\w+: damaged, or Python objects\)"):
        array_source(Path(name))
