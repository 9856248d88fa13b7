import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_extract.data.image_files import decode_images, describe_folder_problem, read_image_folder
from lightning_extract.errors import InputError
from tests.image_folders import CLASSES, write_image_folder


def test_folder_is_read_as_it_was_written(tmp_path):
    write_image_folder(tmp_path)
    image_set = read_image_folder(tmp_path, "train", image_size=None, channels=3)
    assert image_set.classes == CLASSES
    assert image_set.labels.tolist() == [0] * 6 + [1] * 6
    written = np.asarray(Image.open(tmp_path / "train" / "cat" / "002.png"))
    assert np.array_equal(image_set.images[8].permute(1, 2, 0).numpy(), written)


def test_grey_and_size_on_request(tmp_path):
    write_image_folder(tmp_path)
    image_set = read_image_folder(tmp_path, "test", image_size=16, channels=1)
    assert image_set.images.shape == (12, 1, 16, 16)


def test_differing_sizes_need_an_image_size(tmp_path):
    write_image_folder(tmp_path)
    Image.new("RGB", (5, 8)).save(tmp_path / "train" / "cat" / "odd.png")
    with pytest.raises(InputError, match=r"000.png is 8 x 8, .*odd.png is 5 x 8.*give image_size"):
        read_image_folder(tmp_path, "train", image_size=None, channels=3)
    assert len(read_image_folder(tmp_path, "train", image_size=8, channels=3)) == 13


@pytest.mark.parametrize("content", [b"no image", None])
def test_damaged_image_is_named(tmp_path, content):
    write_image_folder(tmp_path)
    damaged = tmp_path / "train" / "bird" / "003.png"
    damaged.write_bytes(content or damaged.read_bytes()[:60])
    with pytest.raises(InputError, match=r"bird/003.png cannot be read as an image"):
        read_image_folder(tmp_path, "train", image_size=None, channels=3)


@pytest.mark.parametrize("name", ["zero.bmp", "huge.png", "lost.png", "empty.jpg"])
def test_what_no_image_can_be_is_named(tmp_path, name):
    path = tmp_path / name
    header = {"zero.bmp": struct.pack("<2sIIIIiiHHIIIIII", b"BM", 54, 0, 54, 40, 0, 3, 1, 24, *[0] * 6)}
    header["huge.png"] = png(60_000, 60_000, 8, b"")
    if name == "lost.png":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(header.get(name, b""))
    with pytest.raises(InputError, match=rf"{name} cannot be read as an image \(.*\); repair or remove it"):
        decode_images([path], channels=3, image_size=8)


def png(width: int, height: int, depth: int, rows: bytes) -> bytes:
    """A colour PNG with any header."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
              for kind, body in parts]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_an_image_of_one_row_is_resized(tmp_path):
    Image.new("RGB", (40, 1), (9, 8, 7)).save(tmp_path / "row.png")
    images = decode_images([tmp_path / "row.png"], channels=3, image_size=8)
    assert torch.equal(images, torch.tensor([9, 8, 7], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8))


@pytest.mark.parametrize("name", ["moving.webp", "moving.png", "pages.tiff"])
def test_of_animations_the_first_picture_is_taken(tmp_path, name):
    red, green = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 255, 0))
    red.save(tmp_path / name, save_all=True, append_images=[green], lossless=True)
    assert decode_images([tmp_path / name], channels=3, image_size=None)[0, :, 2, 2].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["print.jpg", "print.tiff"])
def test_printing_colours_become_screen_colours(tmp_path, name):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / name)
    assert decode_images([tmp_path / name], channels=3, image_size=None)[0, :, 2, 2].tolist() == [255, 0, 0]


def test_deep_colours_are_scaled_to_bytes(tmp_path):
    (tmp_path / "deep.png").write_bytes(png(2, 1, 16, b"\0" + struct.pack(">6H", 0, 2560, 65_535, 25_700, 255, 256)))
    images = decode_images([tmp_path / "deep.png"], channels=3, image_size=None)
    assert images[0, :, 0, :].T.tolist() == [[0, 10, 255], [100, 0, 1]]


def test_images_may_be_alike(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        Image.new("L", (2, 2), 9).save(path)
    assert decode_images(paths, 1, None).tolist() == [[[[9, 9], [9, 9]]]] * 2


def test_deep_pixels_are_refused_not_clipped(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(path)
    with pytest.raises(InputError, match="more than 8 bits"):
        decode_images([path], channels=1, image_size=None)


def test_empty_class_is_refused(tmp_path):
    write_image_folder(tmp_path)
    for split in ("train", "test"):
        (tmp_path / split / "dog").mkdir()
    with pytest.raises(InputError, match="dog"):
        read_image_folder(tmp_path, "train", image_size=None, channels=3)


def test_folder_problems(tmp_path):
    assert "no train/<class>/<image> tree" in str(describe_folder_problem(tmp_path))
    write_image_folder(tmp_path)
    assert describe_folder_problem(tmp_path) is None
    (tmp_path / "test" / "dog").mkdir()
    assert "only one of them has dog" in str(describe_folder_problem(tmp_path))


def test_order_of_decoding_is_the_order_of_paths(tmp_path):
    paths: list[Path] = []
    for value in range(200):
        paths.append(tmp_path / f"{value}.png")
        Image.new("L", (2, 2), value).save(paths[-1])
    assert torch.equal(decode_images(paths, 1, None)[:, 0, 0, 0].long(), torch.arange(200))
