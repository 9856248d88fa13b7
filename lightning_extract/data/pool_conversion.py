"""The images of a pool in the size and with the channels asked for: where they lie, in memory, or in a cache."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from lightning_extract.bars import open_bar
from lightning_extract.data.image_set import convert_images
from lightning_extract.data.pool_cache import read_cached_pool, write_cached_pool
from lightning_extract.data.pool_sources import PoolSource
from lightning_extract.data.shape_pool import SYNTHETIC_SHAPES
from lightning_extract.errors import InputError

CHUNK = 512  # images converted at a time: resizing may need them as float32
SECONDS_WITHOUT_BAR = 2.0  # small pools show none


def place_images(
    pool: str,
    source: PoolSource,
    positions: Tensor,
    image_shape: tuple[int, int, int],
    cached: Path | None,
    classes: tuple[str, ...],
) -> Tensor:
    """Converts the images at some positions of a source, unless they lie on disk as they are.

    Args:
        pool: What messages call the pool.
        source: Where the images come from.
        positions: The images to keep, ascending.
        image_shape: Channels, height and width.
        cached: File of a cache to write them into and map; None for memory.
        classes: Names of their classes, kept in the cache.

    Raises:
        InputError: They are larger than the free memory and no cache is given, or it cannot be written to.
    """
    mapped = source.mapped
    if mapped is not None and mapped.shape == (len(positions), *image_shape) and mapped.is_contiguous():
        return mapped
    if cached is not None:
        chunks = _converted(pool, source, positions, image_shape)
        write_cached_pool(cached, len(positions), image_shape, chunks, classes)
        return read_cached_pool(cached, image_shape)[0]
    images = _empty(pool, (len(positions), *image_shape))
    chunks = _converted(pool, source, positions, image_shape)
    for target, chunk in zip(torch.split(images, CHUNK), chunks, strict=True):
        target.copy_(chunk)
    return images


def refuse_dark_images(pool: str, images: Tensor) -> None:
    """Looks for pixels that are no fractions rounded to 0 and 1; mostly the first images have them.

    Raises:
        InputError: There are none.
    """
    if any(chunk.max() > 1 for chunk in torch.split(images, CHUNK)):
        return
    raise InputError(
        f"no pixel of pool {pool!r} is brighter than {int(images.max())} of 255; scale the images to 0 to 255 "
        "before they become bytes"
    )


def _converted(pool: str, source: PoolSource, positions: Tensor, image_shape: tuple[int, int, int]) -> Iterator[Tensor]:
    first = getattr(rank_zero_only, "rank", 0) == 0
    bar = open_bar(len(positions), f"pool {pool}", " images", show=first, delay=SECONDS_WITHOUT_BAR)
    channels, image_size, _ = image_shape
    with bar:
        for chunk in torch.split(positions, CHUNK):
            yield convert_images(source.read(chunk), image_size, channels)
            bar.update(len(chunk))


def _empty(pool: str, shape: tuple[int, int, int, int]) -> Tensor:
    needed, free = torch.Size(shape).numel(), psutil.virtual_memory().available
    if needed > free:
        fewer = "lower shapes.count, empty shapes.cache" if pool == SYNTHETIC_SHAPES else "set pool_limit"
        raise InputError(
            f"the {shape[0]:,} images of pool {pool!r} need {needed / 1e9:.1f} GB as bytes, {free / 1e9:.1f} GB are "
            f"free; give a folder on disk as pool_cache, {fewer} or lower image_size"
        )
    return torch.empty(shape, dtype=torch.uint8)
