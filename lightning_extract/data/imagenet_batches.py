"""The files of downsampled ImageNet, pickles or .npz, read without running code that may be in them."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from lightning_extract.errors import InputError

IMAGENET_SIZES = {f"imagenet{size}": size for size in (8, 16, 32, 64)}  # pool names and pixels a side
HOME = "https://image-net.org/download-images"
BATCHES = (*(f"train_data_batch_{number}" for number in range(1, 11)), "val_data")


def imagenet_files(pool: str, root: Path) -> list[Path]:
    """The batches that are there, of each the .npz file where there are both."""
    stems = [root / pool / name for name in BATCHES]
    choices = [next((path for path in (stem.with_suffix(".npz"), stem) if path.is_file()), None) for stem in stems]
    return [path for path in choices if path is not None]


def describe_missing_imagenet(pool: str, root: Path) -> str | None:
    """One sentence on what has to be put where, or None when there is a batch."""
    if imagenet_files(pool, root):
        return None
    return (
        f"pool {pool} needs train_data_batch_1, or any other of _1 to _10 and val_data, as they are or as .npz, in "
        f"{root / pool}/: unpack them there from {HOME} (asks for an account), or give the folder above with "
        "--data.init_args.pool_root"
    )


def read_imagenet_batch(path: Path, image_size: int) -> NDArray[np.uint8]:
    """The images of one file; its labels are left behind.

    Reference:
        Chrabaszcz et al., A downsampled variant of ImageNet, 2017: rows of red, green and blue planes.

    Shape:
        ``(N, 3, image_size, image_size)``.

    Raises:
        InputError: The file is damaged, asks for code to be run, or holds images of another size.
    """
    try:
        with path.open("rb") as file:
            rows = _npz_rows(file) if path.suffix == ".npz" else _pickle_rows(file, path)
    except InputError:
        raise
    except Exception as error:  # a damaged file leads the reader into every kind of error
        raise InputError(
            f"{path} cannot be read as a batch of downsampled ImageNet ({type(error).__name__}: damaged, or another "
            f"file); unpack it anew from {HOME}"
        ) from error
    needed = 3 * image_size**2
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != needed or len(rows) == 0:
        raise InputError(
            f"{path} holds {rows.dtype} {rows.shape} for its images, which must be uint8 (N, {needed}) for "
            f"{image_size} x {image_size} pixels; put the files of each size into the folder of their pool"
        )
    return rows.reshape(-1, 3, image_size, image_size)


def _npz_rows(file: BinaryIO) -> NDArray[Any]:
    return np.asarray(np.load(file, allow_pickle=False)["data"])


def _pickle_rows(file: BinaryIO, path: Path) -> NDArray[Any]:
    content = _ImagesUnpickler(file, path).load()
    named = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
    array: _StoredArray = named["data"]
    return array.numbers()


class _StoredType:
    """Stands for numpy.dtype, of which the code alone is kept."""

    def __init__(self, code: str | bytes, *options: object) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: object) -> None:
        """Leaves byte order and fields out: bytes have none."""


class _StoredArray:
    """Stands for numpy.ndarray, whose own reconstruction trusts the file."""

    def __init__(self, *shape: object) -> None:
        self.state: tuple[int, tuple[int, ...], _StoredType, bool, bytes] | None = None

    def __setstate__(self, state: tuple[int, tuple[int, ...], _StoredType, bool, bytes]) -> None:
        self.state = state

    def numbers(self) -> NDArray[Any]:
        """The array, when it holds bytes."""
        if self.state is None:
            raise TypeError("no content")
        _, shape, stored, columns_first, content = self.state
        if stored.code != "u1":
            raise TypeError(f"{stored.code} instead of u1")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if columns_first else "C")


class _Encode:
    """Stands for _codecs.encode, with which Python 3 wrote bytes for Python 2; a file cannot set anything of it."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        return text.encode("latin1")

    def __setstate__(self, state: object) -> NoReturn:
        raise TypeError("a function has no state")


# Everything that such a file names, with what is built in its place: nothing of numpy's, nothing that acts.
STAND_INS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _StoredArray,
    ("numpy._core.multiarray", "_reconstruct"): _StoredArray,
    ("numpy", "ndarray"): _StoredArray,
    ("numpy", "dtype"): _StoredType,
    ("_codecs", "encode"): _Encode(),
}


class _ImagesUnpickler(pickle.Unpickler):
    """Builds dicts, lists, numbers, text and stand-ins for arrays; calls nothing else."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="bytes")  # files of Python 2 hold their pixels as text
        self.path = path

    def find_class(self, module_name: str, global_name: str, /) -> Callable[..., object]:
        if (module_name, global_name) not in STAND_INS:
            self._refuse(f"{module_name}.{global_name}")
        return STAND_INS[module_name, global_name]

    def persistent_load(self, pid: object) -> NoReturn:
        self._refuse("an object outside of it")

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(
            f"{self.path} asks for {what}, which images do not need; nothing was run: remove the file, which may be "
            f"harmful, and unpack it anew from {HOME}"
        )
