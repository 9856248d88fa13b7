"""Images from files: decoding in parallel, and folders with one sub-folder a class."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder

from lightning_extract.data.image_set import ImageSet
from lightning_extract.errors import InputError

SPLITS = ("train", "test")
GROUP = 32  # files that a thread decodes in one go: small images take no longer than handing them over


def decode_images(paths: list[Path], channels: int, image_size: int | None) -> Tensor:
    """Reads image files into one uint8 tensor.

    Of animations the first picture is taken; palettes and CMYK become colours, transparency is left out.

    Args:
        paths: The files.
        channels: 1 converts to grey, 3 to colour.
        image_size: Height and width to resize to (antialiased bilinear), in pixels; without it all must be alike.

    Shape:
        ``(N, C, H, W)``.

    Raises:
        InputError: A file is no image, is grey with more than 8 bits, or the sizes differ.
    """
    decode = partial(_decode, mode="L" if channels == 1 else "RGB", image_size=image_size)
    first = decode(paths[0])
    images = np.empty((len(paths), *first.shape), np.uint8)
    groups = [paths[start : start + GROUP] for start in range(0, len(paths), GROUP)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        decoded = pool.map(lambda group: [decode(path) for path in group], groups)
        for position, pixels in enumerate(chain.from_iterable(decoded)):
            if pixels.shape != first.shape:
                raise InputError(
                    f"images differ in size ({paths[0]} is {_size(first)}, {paths[position]} is {_size(pixels)}); "
                    "give image_size to resize them"
                )
            images[position] = pixels
    tensor = torch.from_numpy(images)
    return tensor.unsqueeze(1) if channels == 1 else tensor.permute(0, 3, 1, 2).contiguous()


def read_image_folder(folder: Path, split: str, image_size: int | None, channels: int) -> ImageSet:
    """Reads ``folder/split/<class>/<image>``, classes in alphabetical order.

    Raises:
        InputError: A class has no image, or an image cannot be read.
    """
    try:
        tree = ImageFolder(folder / split)
    except FileNotFoundError as error:
        raise InputError(f"{folder / split} cannot be read as one sub-folder of images a class: {error}") from error
    paths = [Path(path) for path, _ in tree.samples]
    images = decode_images(paths, channels, image_size)
    return ImageSet(images, torch.tensor(tree.targets), tuple(tree.classes))


def folder_classes(folder: Path, split: str) -> tuple[str, ...]:
    """Names of the sub-folders of one split, empty when there is no such split."""
    tree = folder / split
    return tuple(sorted(entry.name for entry in os.scandir(tree) if entry.is_dir())) if tree.is_dir() else ()


def describe_folder_problem(folder: Path) -> str | None:
    """One sentence on what a data folder lacks, or None."""
    classes = {split: folder_classes(folder, split) for split in SPLITS}
    for split in SPLITS:
        if not classes[split]:
            return (
                f"{folder} has no {split}/<class>/<image> tree; it needs train/ and test/ with one sub-folder a class"
            )
    differing = sorted(set(classes["train"]) ^ set(classes["test"]))
    if differing:
        return (
            f"train/ and test/ of {folder} must have the same classes, only one of them has {', '.join(differing[:5])}"
        )
    return None


def _decode(path: Path, mode: str, image_size: int | None) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise InputError(f"{path} has more than 8 bits a channel ({image.mode}); convert it to 8 bits")
            converted = image.convert(mode)
    except InputError:
        raise
    except Exception as error:  # a damaged file leads the reader into every kind of error
        raise InputError(f"{path} cannot be read as an image ({error}); repair or remove it") from error
    if image_size is not None and converted.size != (image_size, image_size):
        converted = converted.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(converted)


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"
