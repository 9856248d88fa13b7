"""Victims on disk: a folder with the weights and the card."""

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from lightning_extract.errors import InputError
from lightning_extract.networks import build_classifier
from lightning_extract.victims.card import CARD_FILE, VictimCard

WEIGHTS_FILE = "victim.safetensors"
SHIPPED = Path(__file__).parent / "shipped"


def shipped_victims() -> list[str]:
    """Names of the victims inside the package."""
    return sorted(card.parent.name for card in SHIPPED.glob(f"*/{CARD_FILE}"))


def describe_missing_victim(victim: str | Path) -> str | None:
    """One sentence on how to get a victim, or None when its files are there."""
    folder = _folder(victim)
    missing = [name for name in (WEIGHTS_FILE, CARD_FILE) if not (folder / name).is_file()]
    if not missing:
        return None
    # The victim configs write to victims/<network>_<dataset>.
    name = folder.name if folder.parent.name == "victims" else "<network>_<dataset>"
    return (
        f"victim {str(victim)!r} is neither shipped ({', '.join(shipped_victims())}) nor a folder with "
        f"{' and '.join(missing)}: train one with lightning-extract fit --config configs/victim_{name}.yaml, "
        "or import weights with lightning-extract import-victim"
    )


def load_victim(victim: str | Path) -> tuple[nn.Module, VictimCard]:
    """Loads a victim after checking it.

    Args:
        victim: Name of a shipped victim, or a folder with ``victim.safetensors`` and ``card.json``.

    Returns:
        The network in eval mode, frozen, which takes normalised images; and its card.

    Raises:
        InputError: A file is missing, damaged or does not fit the card.
    """
    missing = describe_missing_victim(victim)
    if missing is not None:
        raise InputError(missing)
    folder = _folder(victim)
    card = read_card(folder)
    weights = (folder / WEIGHTS_FILE).read_bytes()
    found = hashlib.sha256(weights).hexdigest()
    if found != card.weights_sha256:
        raise InputError(
            f"{folder / WEIGHTS_FILE} has sha256 {found[:12]}..., its card says {card.weights_sha256[:12]}...: "
            "the file was changed or damaged; restore it, or import the victim again"
        )
    try:
        tensors = load(weights)
    except SafetensorError as error:
        raise InputError(
            f"{folder / WEIGHTS_FILE} is no safetensors file ({error}); import the victim again"
        ) from error
    network = build_classifier(card.network, card.num_classes, card.channels, card.image_size)
    load_weights(network, tensors, f"{folder / WEIGHTS_FILE}", f"{card.network} with {card.num_classes} classes")
    return network.eval().requires_grad_(False), card


def read_card(folder: Path) -> VictimCard:
    """Reads the card of a victim folder.

    Raises:
        InputError: The card is invalid.
    """
    path = folder / CARD_FILE
    try:
        return VictimCard.from_json(path.read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text file ({error}); import or train the victim again") from error


def load_weights(network: nn.Module, tensors: dict[str, Tensor], source: str, expected: str) -> None:
    """Fills a network after checking names, shapes and values.

    Args:
        network: Receives the weights.
        tensors: The weights by name.
        source: Where they come from, for the message.
        expected: What the network is, for the message.

    Raises:
        InputError: A tensor is missing, unknown, of another shape, or not finite.
    """
    wanted = network.state_dict()
    missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or unknown:
        raise InputError(
            f"{source} does not hold a {expected}: it lacks {len(missing)} tensors ({', '.join(missing[:3])}) and "
            f"has {len(unknown)} unknown ones ({', '.join(unknown[:3])}); check the network's name"
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise InputError(
                f"{source} does not hold a {expected}: {name} has shape {tuple(tensor.shape)}, expected "
                f"{tuple(wanted[name].shape)}; check network, num_classes, channels and image_size"
            )
    check_finite(tensors, source)
    network.load_state_dict(tensors)


def check_finite(tensors: dict[str, Tensor], source: str) -> None:
    """Refuses weights that are NaN or infinite.

    Raises:
        InputError: Names the first such tensor.
    """
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"{source}: {name} is not finite; the training diverged, lower the learning rate and repeat"
            )


def save_victim(
    folder: str | Path,
    weights: nn.Module,
    *,
    network: str,
    num_classes: int,
    channels: int,
    image_size: int,
    dataset: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    test_accuracy: float | None,
    recipe: dict[str, Any],
    split: str = "test",
) -> VictimCard:
    """Writes weights and card of a victim; each file appears whole or not at all.

    Args:
        folder: Where; made when missing.
        weights: The trained network, which takes normalised images.
        network: Its name for ``build_classifier``.
        num_classes: Number of classes.
        channels: 1 for grey, 3 for colour.
        image_size: Height and width in pixels.
        dataset: What it was trained on.
        mean: Channel means of its normalisation, of images in [0, 1].
        std: Channel deviations of the same.
        test_accuracy: Fraction of the split answered correctly, or None.
        recipe: How it was trained, or where it comes from.
        split: What the accuracy was measured on.

    Raises:
        InputError: A weight is not finite, or a value of the card is impossible.
    """
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.state_dict().items()}
    check_finite(tensors, f"victim for {folder}")
    blob = save(tensors)
    card = VictimCard(
        network=network,
        num_classes=num_classes,
        channels=channels,
        image_size=image_size,
        dataset=dataset,
        split=split,
        mean=mean,
        std=std,
        test_accuracy=test_accuracy,
        recipe=recipe,
        weights_sha256=hashlib.sha256(blob).hexdigest(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / WEIGHTS_FILE, blob)
    _replace(folder / CARD_FILE, card.to_json().encode())
    return card


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def _folder(victim: str | Path) -> Path:
    return SHIPPED / victim if str(victim) in shipped_victims() else Path(victim)
