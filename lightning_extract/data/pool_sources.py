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

from lightning_extract.data.draws import mix_seed
from lightning_extract.data.image_files import decode_images, folder_classes
from lightning_extract.data.image_set import CHANNEL_CHOICES
from lightning_extract.data.imagenet_batches import IMAGENET_SIZES, imagenet_files, read_imagenet_batch
from lightning_extract.data.mnist5k import read_mnist5k
from lightning_extract.data.pool_cache import as_tensor
from lightning_extract.data.pools import NoiseKind
from lightning_extract.data.torchvision_sets import SVHN_EXTRA, TORCHVISION_SETS
from lightning_extract.errors import InputError

ARRAY_SHAPES = "(N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels"
NAMED_FILES = TORCHVISION_SETS | {"svhn_extra": SVHN_EXTRA}


@dataclass(frozen=True)
class PoolSource:
    """A pool before its images are converted.

    Args:
        count: Number of images.
        read: Positions to uint8 images ``(n, C, H, W)``.
        labels: Classes to choose images by; None where they are not known.
        classes: Names of the classes.
        mapped: All images as they lie on disk, ``(N, C, H, W)``; None where they have to be loaded or decoded.
    """

    count: int
    read: Callable[[Tensor], Tensor]
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    mapped: Tensor | None = None


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
    return (path for path in files_below(folder) if path.name.lower().endswith(IMG_EXTENSIONS))


def files_below(place: Path) -> Iterator[Path]:
    """All files below a folder, in no order; a file itself.

    Raises:
        InputError: A folder cannot be listed.
    """
    if not place.is_dir():
        yield place
    for folder, _, names in os.walk(place, onerror=_refuse_unreadable, followlinks=True):
        yield from (Path(folder, name) for name in names)


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
    images = as_tensor(array)
    return PoolSource(len(images), images.__getitem__, mapped=images if path.suffix == ".npy" else None)


def imagenet_source(pool: str, root: Path) -> PoolSource:
    """The images of downsampled ImageNet, of which one batch is in memory at a time.

    Raises:
        InputError: A batch cannot be read.
    """
    paths, held = imagenet_files(pool, root), dict[int, Tensor]()

    def batch(number: int) -> Tensor:
        if number not in held:
            held.clear()  # before the next is read
            held[number] = as_tensor(read_imagenet_batch(paths[number], IMAGENET_SIZES[pool]))
        return held[number]

    counts = torch.tensor([len(batch(number)) for number in range(len(paths))])
    stops = counts.cumsum(0)

    def read(positions: Tensor) -> Tensor:
        numbers = torch.searchsorted(stops, positions, right=True)
        places = positions - (stops - counts)[numbers]
        images = torch.empty(len(positions), 3, IMAGENET_SIZES[pool], IMAGENET_SIZES[pool], dtype=torch.uint8)
        for number in set(numbers.tolist()):
            images[numbers == number] = batch(number)[places[numbers == number]]
        return images

    return PoolSource(int(stops[-1]), read)


def noise_source(kind: NoiseKind, count: int, image_shape: tuple[int, int, int], seed: int) -> PoolSource:
    """So many images of independent random pixels, each drawn from a seed of its own.

    Deviations:
        Pixels have the 256 levels of bytes: uniform_noise takes all alike, gaussian_noise is rounded to the nearest.
    """

    def image(position: int) -> Tensor:
        generator = torch.Generator().manual_seed(mix_seed(seed, position))
        if kind == "uniform_noise":
            return torch.randint(256, image_shape, dtype=torch.uint8, generator=generator)
        pixels = torch.randn(image_shape, generator=generator).clamp_(-1.0, 1.0)
        return pixels.add_(1.0).mul_(127.5).round_().to(torch.uint8)

    return PoolSource(count, lambda positions: torch.stack([image(position) for position in positions.tolist()]))


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
