"""Image data sets by name, or from a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightning_extract.data.image_files import describe_folder_problem, folder_classes, read_image_folder
from lightning_extract.data.image_set import ImageSet, check_image_request, images_to_unit_range
from lightning_extract.data.mnist5k import describe_missing_mnist5k, read_mnist5k
from lightning_extract.data.torchvision_sets import GTSRB_CLASSES, TORCHVISION_SETS
from lightning_extract.errors import InputError

__all__ = [
    "DATASETS",
    "DatasetShape",
    "ImageSet",
    "Split",
    "dataset_shape",
    "describe_missing_data",
    "images_to_unit_range",
    "load_images",
]

Split = Literal["train", "test"]

FOLDER_CHANNELS = 3


@dataclass(frozen=True)
class DatasetShape:
    """What is known of a data set before it is read."""

    num_classes: int
    channels: int


DATASETS = {
    "mnist5k": DatasetShape(num_classes=10, channels=1),
    "mnist": DatasetShape(num_classes=10, channels=1),
    "fashion_mnist": DatasetShape(num_classes=10, channels=1),
    "svhn": DatasetShape(num_classes=10, channels=3),
    "cifar10": DatasetShape(num_classes=10, channels=3),
    "cifar100": DatasetShape(num_classes=100, channels=3),
    "gtsrb": DatasetShape(num_classes=GTSRB_CLASSES, channels=3),
}


def load_images(
    dataset: str,
    split: Split,
    root: str | Path = "data",
    image_size: int | None = None,
    channels: int | None = None,
    download: bool = False,
) -> ImageSet:
    """Reads one split of a data set into memory.

    Args:
        dataset: A name of :data:`DATASETS`, or a folder with ``train/<class>/<image>`` and ``test/<class>/<image>``.
        split: Which part.
        root: Folder that holds the named data sets, in torchvision's layout.
        image_size: Height and width to resize to, in pixels; as it is when not given (GTSRB: 32).
        channels: 1 (grey) or 3 (colour); as it is when not given, a folder's images in colour.
        download: Fetch a named data set that is missing.

    Raises:
        InputError: The data set is unknown, missing or damaged.
    """
    check_image_request(image_size, channels)
    missing = describe_missing_data(dataset, root, download)
    if missing is not None:
        raise InputError(missing)
    if dataset == "mnist5k":
        return read_mnist5k(split).converted(image_size, channels)
    if dataset in TORCHVISION_SETS:
        named = TORCHVISION_SETS[dataset]
        return named.read(dataset, Path(root), split, download).converted(image_size, channels)
    return read_image_folder(Path(dataset), split, image_size, channels or FOLDER_CHANNELS)


def describe_missing_data(dataset: str, root: str | Path = "data", download: bool = False) -> str | None:
    """One sentence on what has to be put where before :func:`load_images` works, or None. Touches no network."""
    if dataset == "mnist5k":
        return describe_missing_mnist5k()
    if dataset in TORCHVISION_SETS:
        return TORCHVISION_SETS[dataset].describe_missing(dataset, Path(root), download)
    if not Path(dataset).is_dir():
        return (
            f"{dataset!r} is neither a known data set ({', '.join(DATASETS)}) nor a folder; "
            "give one of the names or a folder with train/ and test/"
        )
    return describe_folder_problem(Path(dataset))


def dataset_shape(dataset: str) -> DatasetShape:
    """Number of classes and channels, without reading an image.

    Raises:
        InputError: The data set is unknown, or its folder lacks a split.
    """
    if dataset in DATASETS:
        return DATASETS[dataset]
    missing = describe_missing_data(dataset)
    if missing is not None:
        raise InputError(missing)
    return DatasetShape(len(folder_classes(Path(dataset), "train")), FOLDER_CHANNELS)
