"""Writing of victim folders."""

import hashlib
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from lightning_extract.data.words import WordTokenizer
from lightning_extract.durable_file import write_durably
from lightning_extract.victims.card import CARD_FILE, VictimCard
from lightning_extract.victims.loading import TOKENIZER_FILE, WEIGHTS_FILE, check_finite
from lightning_extract.victims.text_card import TextVictimCard


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
    """Writes weights and card of an image victim; each file appears whole or not at all.

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
    blob = _weights_of(weights, folder)
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
    _write(folder, {WEIGHTS_FILE: blob, CARD_FILE: card.to_json().encode()})
    return card


def save_text_victim(
    folder: str | Path,
    weights: nn.Module,
    tokenizer: WordTokenizer,
    *,
    network: str,
    num_classes: int,
    vocabulary: int,
    embedding_dim: int,
    sentence_length: int,
    dataset: str,
    test_accuracy: float | None,
    recipe: dict[str, Any],
    split: str = "test",
) -> TextVictimCard:
    """Writes weights, tokenizer and card of a text victim; each file appears whole or not at all.

    Args:
        folder: Where; made when missing.
        weights: The trained network, which takes word numbers.
        tokenizer: Gives the word numbers.
        network: Its name for ``build_text_classifier``.
        num_classes: Number of classes.
        vocabulary: Rows of its embedding.
        embedding_dim: Numbers a word.
        sentence_length: Words that it reads of a sentence.
        dataset: What it was trained on.
        test_accuracy: Fraction of the split answered correctly, or None.
        recipe: How it was trained.
        split: What the accuracy was measured on.

    Raises:
        InputError: A weight is not finite, or a value of the card is impossible.
    """
    folder = Path(folder)
    blob, words = _weights_of(weights, folder), tokenizer.to_json().encode()
    card = TextVictimCard(
        network=network,
        num_classes=num_classes,
        vocabulary=vocabulary,
        embedding_dim=embedding_dim,
        sentence_length=sentence_length,
        dataset=dataset,
        split=split,
        test_accuracy=test_accuracy,
        recipe=recipe,
        weights_sha256=hashlib.sha256(blob).hexdigest(),
        tokenizer_sha256=hashlib.sha256(words).hexdigest(),
    )
    _write(folder, {WEIGHTS_FILE: blob, TOKENIZER_FILE: words, CARD_FILE: card.to_json().encode()})
    return card


def _weights_of(network: nn.Module, folder: Path) -> bytes:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    check_finite(tensors, f"victim for {folder}")
    return save(tensors)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_durably(folder / name, content)
