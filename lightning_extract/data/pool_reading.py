"""Any pool by its name or path: noise, shapes, a data set, a folder of images or a file with an array."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from lightning_extract.data.class_names import class_indices
from lightning_extract.data.draws import LIMIT_DRAW, limited_choice, mix_seed
from lightning_extract.data.image_files import folder_classes
from lightning_extract.data.image_set import check_image_request
from lightning_extract.data.imagenet_batches import IMAGENET_SIZES, describe_missing_imagenet, imagenet_files
from lightning_extract.data.mnist5k import describe_missing_mnist5k
from lightning_extract.data.pool_cache import cache_file, read_cached_pool
from lightning_extract.data.pool_conversion import place_images, refuse_dark_images
from lightning_extract.data.pool_sources import (
    ARRAY_SHAPES,
    NAMED_FILES,
    PoolSource,
    array_source,
    files_below,
    folder_source,
    image_files,
    imagenet_source,
    images_folder,
    named_source,
    noise_source,
)
from lightning_extract.data.pools import NOISE_KINDS, ImagePool, NoisePool, Pool
from lightning_extract.data.proxy_classes import expand_proxy_classes
from lightning_extract.data.shape_pool import SYNTHETIC_SHAPES, ShapePool, shapes_file, shapes_source
from lightning_extract.data.shapes import SyntheticShapes
from lightning_extract.errors import InputError

ARRAY_SUFFIXES = (".npy", ".npz")

NAMED_POOLS = ("mnist5k", *NAMED_FILES, *IMAGENET_SIZES)


def read_pool(
    pool: str,
    root: str | Path,
    image_size: int,
    channels: int,
    classes: tuple[int | str, ...] | None = None,
    limit: int | None = None,
    seed: int = 0,
    shapes: SyntheticShapes = SyntheticShapes(),
    cache: str | None = None,
) -> Pool:
    """Reads a pool into memory or maps it, without its labels.

    A .npy file of images in the size and with the channels asked for, (N, C, H, W), stays on disk where all are kept.

    Args:
        pool: uniform_noise, gaussian_noise, synthetic_shapes, a name of :data:`NAMED_POOLS` (its training images), a
            folder with ``train/<class>/<image>`` (its training images), any other folder (all image files below it), or
            a .npy or .npz file of uint8 images (in .npz the array ``images``, or the only one).
        root: Folder that holds the named data sets, in torchvision's layout.
        image_size: Height and width to resize to (antialiased bilinear), in pixels.
        channels: 1 (grey) or 3 (colour).
        classes: Names or indices of the classes whose images are kept, those of a folder in alphabetical order, or a
            name of :data:`~lightning_extract.data.proxy_classes.PROXY_CLASSES`; all when not given.
        limit: At most so many images, a choice drawn by the seed; all when not given. Noise is endless without it, and
            with it so many images in bytes.
        seed: The run's seed.
        shapes: What synthetic_shapes draws; read from its file where it has a cache.
        cache: Folder in which the converted images are kept, and from which they are mapped; in memory when not given.

    Raises:
        InputError: The pool is unknown, missing, damaged, empty or larger than the free memory, or has no such class;
            the cache is damaged or cannot be written to.
    """
    check_image_request(image_size, channels)
    check_pool_request(pool, classes, limit)
    missing = describe_missing_pool(pool, root)
    if missing is not None:
        raise InputError(missing)
    image_shape = (channels, image_size, image_size)
    noise = next((kind for kind in NOISE_KINDS if kind == pool), None)
    if noise is not None and limit is None:
        return NoisePool(noise, image_shape)
    if pool == SYNTHETIC_SHAPES and not shapes.cache:
        return ShapePool(shapes, image_shape, seed)
    cached = None
    if cache is not None:
        drawn = None if limit is None else (limit, seed)  # runs of all seeds share a whole pool
        kept = None if pool != SYNTHETIC_SHAPES else shapes_file(shapes, image_size, channels).name
        names = folder_classes(Path(pool), "train")
        request = {"shape": image_shape, "classes": classes, "limit": drawn, "shapes": kept, "names": names}
        cached = cache_file(cache, request | {"pool": _name(pool)}, _files(pool, Path(root)))
    if cached is not None and cached.exists():
        images, names = read_cached_pool(cached, image_shape)
    else:
        source = _source(pool, Path(root), image_shape, limit, seed, shapes)
        positions = _chosen(pool, source, classes, limit, seed)
        names = _names(source, positions)
        images = place_images(pool, source, positions, image_shape, cached, names)
    refuse_dark_images(pool, images)
    return ImagePool(images, seed, names)


def describe_missing_pool(pool: str, root: str | Path = "data", download: bool = False) -> str | None:
    """One sentence on what has to be put where before :func:`read_pool` works, or None. Touches no network."""
    path = Path(pool)
    if pool in NOISE_KINDS or pool == SYNTHETIC_SHAPES:
        return None
    if pool == "mnist5k":
        return describe_missing_mnist5k()
    if pool in IMAGENET_SIZES:
        return describe_missing_imagenet(pool, Path(root))
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
    if classes is None and (limit is None or pool in NOISE_KINDS):
        return
    if pool in NOISE_KINDS:
        raise InputError(f"pool {pool!r} has no classes; remove pool_classes")
    if pool == SYNTHETIC_SHAPES:
        raise InputError(
            f"pool {pool!r} has no classes, and as many images as are asked for; remove pool_classes and pool_limit, "
            "and set shapes.count"
        )
    expand_proxy_classes(pool, classes or ())


def _source(
    pool: str, root: Path, image_shape: tuple[int, int, int], limit: int | None, seed: int, shapes: SyntheticShapes
) -> PoolSource:
    channels, image_size, _ = image_shape
    noise = next((kind for kind in NOISE_KINDS if kind == pool), None)
    if noise is not None:
        assert limit is not None
        return noise_source(noise, limit, image_shape, mix_seed(seed, LIMIT_DRAW))
    if pool == SYNTHETIC_SHAPES:
        return shapes_source(shapes, image_size, channels)
    if pool in IMAGENET_SIZES:
        return imagenet_source(pool, root)
    if pool in NAMED_POOLS:
        return named_source(pool, root)
    path = Path(pool)
    return folder_source(path, image_size, channels) if path.is_dir() else array_source(path)


def _name(pool: str) -> str | None:
    """None for a path: its files tell."""
    return pool if pool in (*NOISE_KINDS, SYNTHETIC_SHAPES, *NAMED_POOLS) else None


def _files(pool: str, root: Path) -> Iterable[Path]:
    """What a pool is read from; nothing where its name and settings say it all."""
    if pool in IMAGENET_SIZES:
        return imagenet_files(pool, root)
    if pool in NAMED_FILES:
        return chain.from_iterable(files_below(root / name) for name in NAMED_FILES[pool].files)
    if _name(pool) is not None:
        return ()
    path = Path(pool)
    return image_files(images_folder(path)) if path.is_dir() else (path,)


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
    return positions[limited_choice(len(positions), limit, seed)]


def _names(source: PoolSource, positions: Tensor) -> tuple[str, ...]:
    """Classes of the images at the given positions; images beside the folders of the classes have none."""
    if source.labels is None:
        return ()
    return tuple(source.classes[label] for label in sorted(set(source.labels[positions].tolist())) if label >= 0)
