"""The standard image data sets, read by torchvision from one root folder."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100, GTSRB, MNIST, SVHN, FashionMNIST

from lightning_extract.data.image_files import decode_images
from lightning_extract.data.image_set import ImageSet
from lightning_extract.errors import InputError

GTSRB_CLASSES = 43
GTSRB_SIZE = 32  # its photographs measure 15 to 250 pixels; the size of the other data sets


@dataclass(frozen=True)
class TorchvisionSet:
    """Where a data set lies and how it is read.

    Args:
        files: What torchvision expects below the root folder.
        home: Web page of the data set.
        open: Root folder, split and download to images.
        needs: A package that torchvision imports to read it.
    """

    files: tuple[str, ...]
    home: str
    open: Callable[[Path, str, bool], ImageSet]
    needs: str | None = None

    def describe_missing(self, name: str, root: Path, download: bool, root_option: str = "root") -> str | None:
        """One sentence on what has to be put where, or None; ``root_option`` is the argument that names the folder."""
        if self.needs is not None and find_spec(self.needs) is None:
            return f"data set {name} needs the package {self.needs}: pip install {self.needs}"
        missing = [file for file in self.files if not (root / file).exists()]
        if not missing or download:
            return None
        return (
            f"data set {name} is not complete in {root}/: put {', '.join(missing)} there (unpacked, from {self.home}), "
            f"give its folder with --data.init_args.{root_option}, or fetch it with --data.init_args.download true"
        )

    def read(self, name: str, root: Path, split: str, download: bool = False) -> ImageSet:
        """Reads one split, after fetching it where asked.

        Raises:
            InputError: A file cannot be fetched, or is damaged.
        """
        try:
            return self.open(root, split, download)
        except (OSError, RuntimeError, ValueError, AssertionError, LookupError) as error:
            action = "fetched into" if download else "read from"
            raise InputError(
                f"data set {name} cannot be {action} {root}/ ({error}); put the files of {self.home} there anew"
            ) from error


def _open_mnist_like(reader: type[MNIST]) -> Callable[[Path, str, bool], ImageSet]:
    def open_set(root: Path, split: str, download: bool) -> ImageSet:
        data = reader(root, train=split == "train", download=download)
        return ImageSet(data.data.unsqueeze(1), data.targets.long(), tuple(reader.classes))

    return open_set


def _open_cifar(reader: type[CIFAR10]) -> Callable[[Path, str, bool], ImageSet]:
    def open_set(root: Path, split: str, download: bool) -> ImageSet:
        data = reader(root, train=split == "train", download=download)
        images = torch.from_numpy(np.ascontiguousarray(data.data.transpose(0, 3, 1, 2)))
        return ImageSet(images, torch.tensor(data.targets), tuple(data.classes))

    return open_set


def _open_svhn(root: Path, split: str, download: bool) -> ImageSet:
    data = SVHN(root, split=split, download=download)
    images = torch.from_numpy(np.ascontiguousarray(data.data))
    return ImageSet(images, torch.from_numpy(data.labels), tuple(str(digit) for digit in range(10)))


def _open_svhn_extra(root: Path, split: str, download: bool) -> ImageSet:
    return _open_svhn(root, "extra", download)


def _open_gtsrb(root: Path, split: str, download: bool) -> ImageSet:
    samples = GTSRB(root, split=split, download=download)._samples
    images = decode_images([Path(path) for path, _ in samples], channels=3, image_size=GTSRB_SIZE)
    return ImageSet(
        images, torch.tensor([label for _, label in samples]), tuple(f"{sign:05d}" for sign in range(GTSRB_CLASSES))
    )


def _idx_files(reader: type[MNIST]) -> tuple[str, ...]:
    return tuple(f"{reader.__name__}/raw/{name.removesuffix('.gz')}" for name, _ in reader.resources)


def _cifar_files(reader: type[CIFAR10]) -> tuple[str, ...]:
    names = [name for name, _ in reader.train_list + reader.test_list] + [reader.meta["filename"]]
    return tuple(f"{reader.base_folder}/{name}" for name in names)


TORCHVISION_SETS = {
    "mnist": TorchvisionSet(
        _idx_files(MNIST), "https://ossci-datasets.s3.amazonaws.com/mnist/", _open_mnist_like(MNIST)
    ),
    "fashion_mnist": TorchvisionSet(
        _idx_files(FashionMNIST), "https://github.com/zalandoresearch/fashion-mnist", _open_mnist_like(FashionMNIST)
    ),
    "svhn": TorchvisionSet(
        ("train_32x32.mat", "test_32x32.mat"), "http://ufldl.stanford.edu/housenumbers/", _open_svhn, needs="scipy"
    ),
    "cifar10": TorchvisionSet(
        _cifar_files(CIFAR10), "https://www.cs.toronto.edu/~kriz/cifar.html", _open_cifar(CIFAR10)
    ),
    "cifar100": TorchvisionSet(
        _cifar_files(CIFAR100), "https://www.cs.toronto.edu/~kriz/cifar.html", _open_cifar(CIFAR100)
    ),
    "gtsrb": TorchvisionSet(
        ("gtsrb/GTSRB/Training", "gtsrb/GTSRB/Final_Test/Images", "gtsrb/GT-final_test.csv"),
        "https://benchmark.ini.rub.de",
        _open_gtsrb,
    ),
}

# Training images only, so it is a pool and no data set to evaluate on.
SVHN_EXTRA = TorchvisionSet(("extra_32x32.mat",), TORCHVISION_SETS["svhn"].home, _open_svhn_extra, needs="scipy")
