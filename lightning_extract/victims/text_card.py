"""What is known of a text victim."""

from dataclasses import dataclass
from typing import ClassVar

from lightning_extract.errors import InputError
from lightning_extract.victims.card import Card, Kinds, Medium


@dataclass(frozen=True, kw_only=True)
class TextVictimCard(Card):
    """The card of a text victim.

    Args:
        vocabulary: Rows of the embedding, at least as many as the tokenizer knows words.
        embedding_dim: Numbers a word.
        sentence_length: Words that it reads of a sentence; longer ones are cut, shorter ones filled up.
        tokenizer_sha256: Hash of the tokenizer's file.

    Raises:
        InputError: A value is impossible.
    """

    vocabulary: int
    embedding_dim: int
    sentence_length: int
    tokenizer_sha256: str

    medium: ClassVar[Medium] = "text"
    kinds: ClassVar[Kinds] = Card.kinds | {
        "vocabulary": (int,),
        "embedding_dim": (int,),
        "sentence_length": (int,),
        "tokenizer_sha256": (str,),
    }

    def __post_init__(self) -> None:
        for name in ("vocabulary", "embedding_dim", "sentence_length"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, it must be at least 1")
        super().__post_init__()
