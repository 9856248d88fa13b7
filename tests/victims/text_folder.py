"""A small text victim in a folder."""

from pathlib import Path

import torch
from torch import nn

from lightning_extract.data.words import WordTokenizer
from lightning_extract.networks import build_text_classifier
from lightning_extract.victims.saving import save_text_victim

SENTENCES = ["a good film", "a bad film !", "so so"]
LENGTH, VOCABULARY = 8, 12


def save_small_text_victim(folder: Path) -> tuple[nn.Module, WordTokenizer]:
    """Writes an untrained victim of two classes that knows the words of the sentences."""
    torch.manual_seed(0)
    network = build_text_classifier("text_cnn", 2, VOCABULARY, 4)
    tokenizer = WordTokenizer.of_sentences(SENTENCES, size=VOCABULARY)
    save_text_victim(
        folder, network, tokenizer, network="text_cnn", num_classes=2, vocabulary=VOCABULARY, embedding_dim=4,
        sentence_length=LENGTH, dataset="films", test_accuracy=0.5, recipe={"epochs": 3},
    )  # fmt: skip
    return network, tokenizer
