"""Victims on disk: a folder with the weights, the card, and the tokenizer of a text victim."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from lightning_extract.data.words import WordTokenizer
from lightning_extract.errors import InputError
from lightning_extract.networks import build_classifier, build_text_classifier
from lightning_extract.victims.card import CARD_FILE, VictimCard, parse_card
from lightning_extract.victims.text_card import TextVictimCard

WEIGHTS_FILE = "victim.safetensors"
TOKENIZER_FILE = "tokenizer.json"
SHIPPED = Path(__file__).parent / "shipped"

AnyCard = VictimCard | TextVictimCard


def shipped_victims() -> list[str]:
    """Names of the victims inside the package."""
    return sorted(card.parent.name for card in SHIPPED.glob(f"*/{CARD_FILE}"))


def describe_missing_victim(victim: str | Path) -> str | None:
    """One sentence on how to get a victim, or None when its files are there."""
    folder = _folder(victim)
    missing = [name for name in (WEIGHTS_FILE, CARD_FILE, *_further_files(folder)) if not (folder / name).is_file()]
    if not missing:
        return None
    # The victim configs write to victims/<network>_<dataset>.
    name = folder.name if folder.parent.name == "victims" else "<network>_<dataset>"
    return (
        f"victim {str(victim)!r} is neither shipped ({', '.join(shipped_victims())}) nor a folder with "
        f"{' and '.join(missing)}: train one with lightning-extract fit --config configs/victim_{name}.yaml, "
        "or import weights with lightning-extract import-victim"
    )


def load_victim(victim: str | Path) -> tuple[nn.Module, AnyCard]:
    """Loads a victim after checking it.

    Args:
        victim: Name of a shipped victim, or a folder with ``victim.safetensors`` and ``card.json``.

    Returns:
        The network in eval mode, frozen, which takes normalised images or word numbers; and its card.

    Raises:
        InputError: A file is missing, damaged or does not fit the card.
    """
    missing = describe_missing_victim(victim)
    if missing is not None:
        raise InputError(missing)
    folder = _folder(victim)
    card = read_card(folder)
    weights = _read_checked(folder / WEIGHTS_FILE, card.weights_sha256)
    try:
        tensors = load(weights)
    except SafetensorError as error:
        raise InputError(
            f"{folder / WEIGHTS_FILE} is no safetensors file ({error}); import the victim again"
        ) from error
    network = _build(card)
    load_weights(network, tensors, f"{folder / WEIGHTS_FILE}", f"{card.network} with {card.num_classes} classes")
    return network.eval().requires_grad_(False), card


def load_tokenizer(victim: str | Path) -> WordTokenizer:
    """Loads what a text victim reads sentences with, after checking it.

    Raises:
        InputError: The victim has none, or the file is missing, damaged or does not fit the card.
    """
    folder = _folder(victim)
    card, path = read_card(folder), folder / TOKENIZER_FILE
    if not isinstance(card, TextVictimCard):
        raise InputError(f"victim {str(victim)!r} answers images, so that it has no tokenizer; give a text victim")
    missing = describe_missing_victim(victim)
    if missing is not None:
        raise InputError(missing)
    try:
        text = _read_checked(path, card.tokenizer_sha256).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text file ({error}); train the victim again") from error
    tokenizer = WordTokenizer.from_json(text, str(path))
    if len(tokenizer) > card.vocabulary:
        raise InputError(
            f"{path} knows {len(tokenizer):,} words, the victim has room for {card.vocabulary:,}; restore both files "
            "of one training"
        )
    return tokenizer


def read_card(folder: Path) -> AnyCard:
    """Reads the card of a victim folder.

    Raises:
        InputError: The card is missing or invalid.
    """
    path = folder / CARD_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text file ({error}); import or train the victim again") from error
    # Only texts have a tokenizer.
    is_text = "tokenizer_sha256" in parse_card(text, path)
    return TextVictimCard.from_json(text, path) if is_text else VictimCard.from_json(text, path)


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
                f"{tuple(wanted[name].shape)}; check network, num_classes and the sizes of its input"
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


def _folder(victim: str | Path) -> Path:
    return SHIPPED / victim if str(victim) in shipped_victims() else Path(victim)


def _further_files(folder: Path) -> list[str]:
    try:
        card = read_card(folder)
    except (InputError, OSError):
        return []  # said when the card is read
    return [TOKENIZER_FILE] if card.medium == "text" else []


def _read_checked(path: Path, sha256: str) -> bytes:
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError(
            f"{path} has sha256 {found[:12]}..., its card says {sha256[:12]}...: "
            "the file was changed or damaged; restore it, or import the victim again"
        )
    return content


def _build(card: AnyCard) -> nn.Module:
    if isinstance(card, VictimCard):
        return build_classifier(card.network, card.num_classes, card.channels, card.image_size)
    # Whether the embedding was trained matters no more: a loaded victim is frozen.
    return build_text_classifier(card.network, card.num_classes, card.vocabulary, card.embedding_dim, static=True)
