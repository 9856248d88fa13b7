"""Any pool by its name or path: noise, shapes, a data set, a folder of images or a file with an array."""

from pathlib import Path

import psutil
import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from lightning_extract.data.class_names import class_indices
from lightning_extract.data.draws import mix_seed
from lightning_extract.data.image_set import check_image_request, convert_images
from lightning_extract.data.mnist5k import describe_missing_mnist5k
from lightning_extract.data.pool_sources import (
    ARRAY_SHAPES,
    NAMED_FILES,
    PoolSource,
    array_source,
    folder_source,
    image_files,
    images_folder,
    named_source,
)
from lightning_extract.data.pools import NOISE_KINDS, ImagePool, NoisePool, Pool
from lightning_extract.data.proxy_classes import expand_proxy_classes
from lightning_extract.data.shape_pool import SYNTHETIC_SHAPES, ShapePool, shapes_source
from lightning_extract.data.shapes import SyntheticShapes
from lightning_extract.errors import InputError

ARRAY_SUFFIXES = (".npy", ".npz")
CHUNK = 512  # images converted at a time: resizing may need them as float32
LIMIT_DRAW = -1  # the seed of the limited choice; passes through a pool are numbered from 0

NAMED_POOLS = ("mnist5k", *NAMED_FILES)


def read_pool(
    pool: str,
    root: str | Path,
    image_size: int,
    channels: int,
    classes: tuple[int | str, ...] | None = None,
    limit: int | None = None,
    seed: int = 0,
    shapes: SyntheticShapes = SyntheticShapes(),
) -> Pool:
    """Reads a pool into memory, without its labels.

    Args:
        pool: uniform_noise, gaussian_noise, synthetic_shapes, a name of :data:`NAMED_POOLS` (its training images), a
            folder with ``train/<class>/<image>`` (its training images), any other folder (all image files below it), or
            a .npy or .npz file of uint8 images (in .npz the array ``images``, or the only one).
        root: Folder that holds the named data sets, in torchvision's layout.
        image_size: Height and width to resize to (antialiased bilinear), in pixels.
        channels: 1 (grey) or 3 (colour).
        classes: Names or indices of the classes whose images are kept, those of a folder in alphabetical order, or a
            name of :data:`~lightning_extract.data.proxy_classes.PROXY_CLASSES`; all when not given.
        limit: At most so many images, a choice drawn by the seed; all when not given.
        seed: The run's seed.
        shapes: What synthetic_shapes draws; read from its file where it has a cache.

    Raises:
        InputError: The pool is unknown, missing, damaged, empty or larger than the free memory, or has no such class.
    """
    check_image_request(image_size, channels)
    check_pool_request(pool, classes, limit)
    missing = describe_missing_pool(pool, root)
    if missing is not None:
        raise InputError(missing)
    noise = next((kind for kind in NOISE_KINDS if kind == pool), None)
    if noise is not None:
        return NoisePool(noise, (channels, image_size, image_size))
    if pool == SYNTHETIC_SHAPES and not shapes.cache:
        return ShapePool(shapes, (channels, image_size, image_size), seed)
    if pool == SYNTHETIC_SHAPES:
        source = shapes_source(shapes, image_size, channels)
    elif pool in NAMED_POOLS:
        source = named_source(pool, Path(root))
    elif Path(pool).is_dir():
        source = folder_source(Path(pool), image_size, channels)
    else:
        source = array_source(Path(pool))
    positions = _chosen(pool, source, classes, limit, seed)
    _refuse_if_too_large(pool, len(positions), channels * image_size**2)
    images = torch.empty(len(positions), channels, image_size, image_size, dtype=torch.uint8)
    for target, chunk in zip(torch.split(images, CHUNK), torch.split(positions, CHUNK), strict=True):
        target.copy_(convert_images(source.read(chunk), image_size, channels))
    if images.max() <= 1:
        raise InputError(
            f"no pixel of pool {pool!r} is brighter than {int(images.max())} of 255; scale the images to 0 to 255 "
            "before they become bytes"
        )
    return ImagePool(images, seed, _names(source, positions))


def describe_missing_pool(pool: str, root: str | Path = "data", download: bool = False) -> str | None:
    """One sentence on what has to be put where before :func:`read_pool` works, or None. Touches no network."""
    path = Path(pool)
    if pool in NOISE_KINDS or pool == SYNTHETIC_SHAPES:
        return None
    if pool == "mnist5k":
        return describe_missing_mnist5k()
    if pool in NAMED_FILES:
        return NAMED_FILES[pool].describe_missing(pool, Path(root), download, root_option="pool_root")
    if path.is_dir():
        if next(image_files(images_folder(path)), None) is None:
            return f"{images_folder(path)} holds no image file ({', '.join(IMG_EXTENSIONS)}); put the pool's there"
        return None
    if path.suffix not in ARRAY_SUFFIXES:
        return (
            f"pool {pool!r} is neither noise ({', '.join(NOISE_KINDS)}), nor {SYNTHETIC_SHAPES}, nor a known "
            f"data set ({', '.join(NAMED_POOLS)}), nor a folder of images, nor a .npy or .npz file; give one of these"
        )
    return None if path.is_file() else f"{pool} does not exist; save an array of uint8 images {ARRAY_SHAPES} there"


def fetch_pool(pool: str, root: str | Path) -> None:
    """Downloads a named pool that is missing; does nothing for the others.

    Raises:
        InputError: It cannot be fetched.
    """
    if pool in NAMED_FILES:
        NAMED_FILES[pool].read(pool, Path(root), "train", download=True)


def check_pool_request(pool: str, classes: tuple[int | str, ...] | None, limit: int | None) -> None:
    """Refuses an impossible choice of images, before any is read.

    Raises:
        InputError: An empty list of classes, a short name of classes for the wrong pool, a limit below 1, or a pool
            that leaves no choice.
    """
    if classes is not None and len(classes) == 0:
        raise InputError("pool_classes is empty; give at least one class, or null for all")
    if limit is not None and limit < 1:
        raise InputError(f"pool_limit is {limit}; give at least 1 image, or null for all")
    if classes is None and limit is None:
        return
    if pool in NOISE_KINDS:
        raise InputError(f"pool {pool!r} is endless and has no classes; remove pool_classes and pool_limit")
    if pool == SYNTHETIC_SHAPES:
        raise InputError(
            f"pool {pool!r} has no classes, and as many images as are asked for; remove pool_classes and pool_limit, "
            "and set shapes.count"
        )
    expand_proxy_classes(pool, classes or ())


def _chosen(
    pool: str, source: PoolSource, wanted: tuple[int | str, ...] | None, limit: int | None, seed: int
) -> Tensor:
    """Positions of the images to read, ascending."""
    positions = torch.arange(source.count)
    if wanted is not None:
        if source.labels is None:
            raise InputError(
                f"pool_classes is {list(wanted)}, but the images of pool {pool!r} have no labels; remove it, or give "
                "a named data set or a folder with train/<class>/<image>"
            )
        indices = class_indices(pool, expand_proxy_classes(pool, wanted), source.classes)
        positions = positions[torch.isin(source.labels, torch.tensor(indices))]
    if len(positions) == 0:
        which = "" if wanted is None else f" of the classes {list(wanted)}"
        raise InputError(f"pool {pool!r} holds no image{which}; give at least one")
    if limit is None or limit >= len(positions):
        return positions
    generator = torch.Generator().manual_seed(mix_seed(seed, LIMIT_DRAW))
    return positions[torch.randperm(len(positions), generator=generator)[:limit]].sort().values


def _names(source: PoolSource, positions: Tensor) -> tuple[str, ...]:
    """Classes of the images at the given positions; images beside the folders of the classes have none."""
    if source.labels is None:
        return ()
    return tuple(source.classes[label] for label in sorted(set(source.labels[positions].tolist())) if label >= 0)


def _refuse_if_too_large(pool: str, count: int, pixels: int) -> None:
    needed, free = count * pixels, psutil.virtual_memory().available
    if needed > free:
        fewer = "lower shapes.count, empty shapes.cache" if pool == SYNTHETIC_SHAPES else "set pool_limit"
        raise InputError(
            f"the {count:,} images of pool {pool!r} need {needed / 1e9:.1f} GB as bytes, {free / 1e9:.1f} GB are free; "
            f"{fewer} or lower image_size"
        )
