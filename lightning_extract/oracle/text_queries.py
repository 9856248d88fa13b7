"""Queries that are sentences."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_extract.data.words import WordTokenizer
from lightning_extract.errors import InputError


class TextQueries:
    """How a text victim is asked: it reads raw sentences with a tokenizer of its own.

    Args:
        tokenizer: The victim's.
        length: Words that it reads of a sentence; longer ones are cut, shorter ones filled up.
    """

    def __init__(self, tokenizer: WordTokenizer, length: int) -> None:
        self._tokenizer, self._length = tokenizer, length
        self._device = torch.device("cpu")

    @property
    def differentiable(self) -> bool:
        """Whether answers have a gradient with respect to samples: words have none."""
        return False

    def to(self, device: torch.device) -> None:
        """Word numbers are made for this device from here on."""
        self._device = device

    def check(self, samples: object) -> None:
        """Refuses what no victim could read.

        Raises:
            InputError: No sentences, or one of them is no text or holds nothing but white space.
        """
        if not isinstance(samples, list | tuple):
            raise InputError(
                f"samples for a text victim must be a list of sentences, got {type(samples).__name__}; "
                "ask an image victim, or give sentences"
            )
        if not samples:
            raise InputError("got no sentence for the victim; give at least 1")
        for position, sentence in enumerate(samples):
            if not isinstance(sentence, str):
                raise InputError(
                    f"sentence {position} for the victim is a {type(sentence).__name__}; give text, which the victim "
                    "reads with its own tokenizer"
                )
            if not sentence.strip():
                raise InputError(f"sentence {position} for the victim is empty; take it out of the pool")

    def in_range(self, samples: Sequence[str]) -> None:
        """Nothing: a sentence has no bounds beside those of ``check``."""
        return None

    def encode(self, samples: Sequence[str]) -> Tensor:
        """Word numbers ``(B, length)``, which the victim's network takes."""
        return self._tokenizer.encode(samples, self._length).to(self._device, non_blocking=True)

    def probe(self) -> Sequence[str]:
        """One short sentence."""
        return ["a short sentence"]

    def to_input_space(self, samples: Sequence[str]) -> Sequence[str]:
        """The sentences as they are: there is no other space."""
        return samples
