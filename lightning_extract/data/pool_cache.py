"""Converted pools on disk: one file of bytes a pool, mapped into memory by every process and every later run."""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray
from torch import Tensor

from lightning_extract.errors import InputError

CONVERSION = 1  # goes up when the same files are converted to other bytes, so that no old cache is taken for them


def cache_file(cache: str, request: Mapping[str, object], files: Iterable[Path]) -> Path:
    """Where the images of a request are kept; other settings, or files that changed, have another place.

    Args:
        cache: Folder of the cached pools.
        request: What the images hang on besides the files, for JSON.
        files: What they are read from.

    Raises:
        InputError: A file cannot be looked at.
    """
    words = hashlib.sha256(json.dumps([CONVERSION, dict(request)], sort_keys=True).encode())
    for path in sorted(files):
        try:
            found = path.stat()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); repair or remove it") from error
        words.update(
            f"{os.path.abspath(path)}\0{found.st_size}\0{found.st_mtime_ns}\0".encode(errors="surrogateescape")
        )
    return Path(cache) / f"pool_{words.hexdigest()[:16]}.npy"


def write_cached_pool(
    path: Path, count: int, image_shape: tuple[int, int, int], chunks: Iterable[Tensor], classes: Sequence[str]
) -> None:
    """Writes images as they come; the file appears when it is whole.

    Args:
        path: Place by :func:`cache_file`; the names of the classes go beside it.
        count: Number of images.
        image_shape: Channels, height and width.
        chunks: The images, uint8, in order.
        classes: Names of the classes that they have.

    Raises:
        InputError: The folder cannot be written to.
    """
    try:
        with replacing(path) as images, replacing(_classes_file(path)) as names:
            names.write_text(json.dumps(classes))
            write_images(images, (count, *image_shape), chunks)
    except OSError as error:
        raise InputError(
            f"pool_cache is {str(path.parent)!r}, where {path.name} cannot be written ({error.strerror or error}); "
            "give a folder with room"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a file to write, which takes the path when the block ends well and is removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{uuid4().hex}.partial")  # runs that start together each write one
    try:
        yield partial
        os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink()


def write_images(path: Path, shape: tuple[int, int, int, int], chunks: Iterable[Tensor]) -> None:
    """Writes a .npy file of bytes, of which few are in memory at a time.

    Args:
        path: The file.
        shape: Of the whole array.
        chunks: Its rows in order, uint8.
    """
    with path.open("wb") as file:
        write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for images in chunks:
            file.write(images.contiguous().numpy().data)


def read_cached_pool(path: Path, image_shape: tuple[int, int, int]) -> tuple[Tensor, tuple[str, ...]]:
    """The images that :func:`write_cached_pool` has written, still on disk, and the names of their classes.

    Raises:
        InputError: The file is damaged.
    """
    try:
        images = as_tensor(np.load(path, mmap_mode="r", allow_pickle=False))
        classes = json.loads(_classes_file(path).read_text())
        whole = images.dtype == torch.uint8 and images.shape[1:] == image_shape and len(images) > 0
    except Exception:  # a damaged file leads the reader into every kind of error
        whole = False
    if not whole:
        raise InputError(f"{path} is damaged; remove it, and the next run writes it anew")
    return images, tuple(classes)


def as_tensor(array: NDArray[np.generic]) -> Tensor:
    """The same memory as a tensor, to be read only: writing into a mapped file would end the process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _classes_file(path: Path) -> Path:
    return path.with_suffix(".json")
