"""The pool of synthetic shapes: drawn for every batch, or once into a file that later runs read."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from lightning_extract.data.draws import IterationDraws
from lightning_extract.data.image_set import images_to_unit_range
from lightning_extract.data.pool_cache import replacing, write_images
from lightning_extract.data.pool_sources import PoolSource, array_source
from lightning_extract.data.pools import DrawingOrder
from lightning_extract.data.shapes import SyntheticShapes, render_shapes
from lightning_extract.errors import InputError

SYNTHETIC_SHAPES = "synthetic_shapes"  # the pool's name
DRAWING = 1  # goes up when the same settings draw other images, so that no old file is taken for them
CHUNK = 4096  # images between two writes to the file


class ShapePool:
    """Synthetic shapes in the order of an ImagePool, of which each process draws its own share.

    Args:
        settings: The images.
        image_shape: Channels, height and width.
        seed: The run's seed, which decides the order.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, settings: SyntheticShapes, image_shape: tuple[int, int, int], seed: int) -> None:
        self.settings, self.image_shape = settings, image_shape
        self.order = DrawingOrder(settings.count, seed)

    @property
    def size(self) -> int:
        """Number of different images."""
        return self.settings.count

    def batch(self, start: int, count: int, draws: IterationDraws) -> Tensor:
        return self._draw(draws.share(self.order.positions(start, count)), draws.device)

    def queries(self, positions: Tensor) -> Tensor:
        """Images by their positions, drawn on the CPU, as :meth:`ImagePool.queries` gives them."""
        return self._draw(positions, torch.device("cpu"))

    def _draw(self, positions: Tensor, device: torch.device) -> Tensor:
        channels, image_size, _ = self.image_shape
        return images_to_unit_range(render_shapes(self.settings, positions, image_size, channels, device))


def shapes_file(settings: SyntheticShapes, image_size: int, channels: int) -> Path:
    """Where the images of these settings are kept; other settings have another file."""
    drawn = {name: value for name, value in asdict(settings).items() if name != "cache"}
    words = json.dumps([DRAWING, drawn, image_size, channels], sort_keys=True)
    return Path(settings.cache) / f"shapes_{hashlib.sha256(words.encode()).hexdigest()[:16]}.npy"


def write_shapes(settings: SyntheticShapes, image_size: int, channels: int) -> None:
    """Draws all images into their file; does nothing when it is there or no cache is asked for.

    Raises:
        InputError: The folder cannot be written to.
    """
    path = shapes_file(settings, image_size, channels)
    if not settings.cache or path.exists():
        return
    drawn = (
        render_shapes(settings, positions, image_size, channels).permute(0, 2, 3, 1)
        for positions in torch.split(torch.arange(settings.count), CHUNK)
    )
    try:
        with replacing(path) as partial:
            write_images(partial, (settings.count, image_size, image_size, channels), drawn)
    except OSError as error:
        raise InputError(
            f"shapes.cache is {settings.cache!r}, where {path.name} cannot be written ({error.strerror or error}); "
            "give a folder with room, or leave it empty"
        ) from error


def shapes_source(settings: SyntheticShapes, image_size: int, channels: int) -> PoolSource:
    """The images of the file that :func:`write_shapes` has written.

    Raises:
        InputError: The file is missing or damaged.
    """
    path = shapes_file(settings, image_size, channels)
    if not path.exists():
        raise InputError(
            f"{path} does not exist, though the run began with writing it; give a shapes.cache that all processes "
            "see, or leave it empty"
        )
    try:
        source = array_source(path)
        whole = source.count == settings.count
    except InputError:
        whole = False
    if not whole:
        raise InputError(f"{path} is damaged; remove it, and the next run writes it anew")
    return source
