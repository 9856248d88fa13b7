"""Victims that were trained elsewhere."""

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from lightning_extract.data.datasets import describe_missing_data, load_images
from lightning_extract.errors import InputError
from lightning_extract.networks import build_classifier
from lightning_extract.victims.accuracy import measure_accuracy
from lightning_extract.victims.card import CARD_FILE, check_normalisation
from lightning_extract.victims.loading import load_weights
from lightning_extract.victims.normalise import Normalise
from lightning_extract.victims.saving import save_victim

# A stated accuracy further from the measured one than this fraction hints at a wrong normalisation.
ACCURACY_TOLERANCE = 0.01


def import_victim(
    weights: Path,
    network: str,
    dataset: str,
    out: Path,
    mean: list[float],
    std: list[float],
    num_classes: int,
    channels: int = 3,
    image_size: int = 32,
    root: str = "data",
    test_accuracy: float | None = None,
) -> None:
    """Makes a victim folder out of a plain file of weights, as those published with DFAD.

    The test accuracy is measured where the data set can be read; otherwise the stated one is recorded, or none.

    Args:
        weights: A state_dict saved by torch (.pt, .pth; read without running code in it) or a .safetensors file; it may
            lie under the key state_dict, and its names may start with "module.".
        network: Name of the architecture: resnet34_8x, resnet18_8x, lenet5, lenet5_half or cnn_<blocks>_<convolutions>.
        dataset: Name of the data set it was trained on, or a folder with train/ and test/.
        out: Folder to write victim.safetensors and card.json to.
        mean: Channel means that it expects images in [0, 1] to be normalised with.
        std: Channel deviations of the same.
        num_classes: Number of classes.
        channels: 1 (grey) or 3 (colour).
        image_size: Height and width in pixels.
        root: Folder that holds the named data sets, in torchvision's layout.
        test_accuracy: Fraction answered correctly as stated by its source.

    Raises:
        InputError: The file cannot be read or does not fit the network, or the output folder holds a victim.
    """
    if (out / CARD_FILE).exists():
        raise InputError(f"{out} holds a victim already; give another folder, or remove it")
    check_normalisation(tuple(mean), tuple(std), channels)
    tensors = read_weights(weights)
    classifier = build_classifier(network, num_classes, channels, image_size)
    load_weights(classifier, tensors, str(weights), f"{network} with {num_classes} classes")
    missing = describe_missing_data(dataset, root)
    if missing is None:
        test_set = load_images(dataset, "test", root, image_size, channels)
        if test_set.num_classes != num_classes:
            raise InputError(f"data set {dataset} has {test_set.num_classes} classes, num_classes is {num_classes}")
        measured = measure_accuracy(classifier, Normalise(tuple(mean), tuple(std)), test_set, torch.device("cpu"))
        if test_accuracy is not None and abs(measured - test_accuracy) > ACCURACY_TOLERANCE:
            warnings.warn(
                f"the test accuracy of {weights} is {measured:.4f}, stated as {test_accuracy:.4f}: check mean and std",
                stacklevel=2,
            )
        test_accuracy = measured
    elif test_accuracy is None:
        warnings.warn(f"the card records no test accuracy, since {missing}", stacklevel=2)
    save_victim(
        out,
        classifier,
        network=network,
        num_classes=num_classes,
        channels=channels,
        image_size=image_size,
        dataset=dataset,
        mean=tuple(mean),
        std=tuple(std),
        test_accuracy=test_accuracy,
        recipe={
            "imported_from": weights.name,
            "source_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "accuracy_measured": missing is None,
        },
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a foreign state_dict without running code in it.

    Raises:
        InputError: The file is missing, damaged, or holds something else than tensors.
    """
    if not path.is_file():
        raise InputError(f"weights file {path} does not exist; give a .pt, .pth or .safetensors file")
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # a damaged file leads the readers into every kind of error
        raise InputError(
            f"{path} cannot be read as plain weights ({type(error).__name__}: damaged, or more than tensors); "
            "save them with torch.save(network.state_dict(), path)"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{path} holds no state_dict of tensors; save one with torch.save(network.state_dict(), path)")
    if all(name.startswith("module.") for name in content):
        return {name.removeprefix("module."): tensor for name, tensor in content.items()}
    return dict(content)
