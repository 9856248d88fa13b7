"""Where a pool's images come from, before they are read into memory."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from lightning_extract.data.image_files import decode_images, folder_classes
from lightning_extract.data.image_set import CHANNEL_CHOICES
from lightning_extract.data.mnist5k import read_mnist5k
from lightning_extract.data.torchvision_sets import SVHN_EXTRA, TORCHVISION_SETS
from lightning_extract.errors import InputError

ARRAY_SHAPES = "(N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels"
NAMED_FILES = TORCHVISION_SETS | {"svhn_extra": SVHN_EXTRA}


@dataclass(frozen=True)
class PoolSource:
    """A pool whose images are not yet in memory.

    Args:
        count: Number of images.
        read: Positions to uint8 images ``(n, C, H, W)``.
        labels: Classes to choose images by; None where they are not known.
        classes: Names of the classes.
    """

    count: int
    read: Callable[[Tensor], Tensor]
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()


def named_source(pool: str, root: Path) -> PoolSource:
    """The training images of a named data set.

    Raises:
        InputError: Its files are damaged.
    """
    image_set = read_mnist5k("train") if pool == "mnist5k" else NAMED_FILES[pool].read(pool, root, "train")
    return PoolSource(len(image_set), image_set.images.__getitem__, image_set.labels, image_set.classes)


def folder_source(folder: Path, image_size: int, channels: int) -> PoolSource:
    """The image files of a folder, resized and converted as they are read."""
    place = images_folder(folder)
    paths = sorted(image_files(place))

    def read(positions: Tensor) -> Tensor:
        return decode_images([paths[i] for i in positions.tolist()], channels, image_size)

    classes = folder_classes(folder, "train")
    if not classes:
        return PoolSource(len(paths), read)
    label_of = {name: label for label, name in enumerate(classes)}
    labels = torch.tensor([label_of.get(path.relative_to(place).parts[0], -1) for path in paths])
    return PoolSource(len(paths), read, labels, classes)


def images_folder(folder: Path) -> Path:
    """The training tree of a data set's folder, so that its test images stay unseen; else the folder itself."""
    return folder / "train" if folder_classes(folder, "train") else folder


def image_files(folder: Path) -> Iterator[Path]:
    """All image files below a folder, in no order.

    Raises:
        InputError: A folder cannot be listed, whose images would be left out silently.
    """
    for place, _, names in os.walk(folder, onerror=_refuse_unreadable, followlinks=True):
        yield from (Path(place, name) for name in names if name.lower().endswith(IMG_EXTENSIONS))


def _refuse_unreadable(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename} cannot be listed ({error.strerror}); make it readable or move it") from error


def array_source(path: Path) -> PoolSource:
    """The images of a .npy file, which stays on disk, or of a .npz file.

    Raises:
        InputError: The file is damaged, or holds something else than uint8 images.
    """
    array = _load_array(path)
    if array.dtype != np.uint8:
        raise InputError(f"{path} holds {array.dtype} values; save its images as uint8, from 0 to 255")
    shape = array.shape
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and shape[3] in CHANNEL_CHOICES:
        array = array.transpose(0, 3, 1, 2)
    elif array.ndim != 4 or shape[1] not in CHANNEL_CHOICES:
        raise InputError(f"{path} has shape {shape}; save its images as {ARRAY_SHAPES}")
    if 0 in shape[1:]:
        raise InputError(f"{path} has shape {shape}; its images must have at least one pixel")
    return PoolSource(len(array), lambda positions: torch.from_numpy(np.ascontiguousarray(array[positions.numpy()])))


def _load_array(path: Path) -> NDArray[np.generic]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(loaded, NpzFile):
            return np.asarray(loaded)
        with loaded:
            names = loaded.files
            if len(names) == 1 or "images" in names:
                return np.asarray(loaded["images" if "images" in names else names[0]])
    except Exception as error:  # a damaged file leads the reader into every kind of error
        raise InputError(
            f"{path} cannot be read as an array ({type(error).__name__}: damaged, or Python objects); "
            "save uint8 images anew with numpy.save"
        ) from error
    raise InputError(f"{path} holds the arrays {names}; call the one with the images 'images'")
