"""What a query is: the one part of the oracle that knows the medium."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from lightning_extract.errors import InputError
from lightning_extract.oracle.image_queries import ImageQueries, InputSpace
from lightning_extract.oracle.text_queries import TextQueries
from lightning_extract.victims.card import VictimCard
from lightning_extract.victims.loading import AnyCard, load_tokenizer

Samples = Tensor | Sequence[str]
Kind = TypeVar("Kind")


class Queries(Protocol[Kind]):
    """Checks samples of one medium and turns them into what the victim's network takes."""

    @property
    def differentiable(self) -> bool:
        """Whether answers have a gradient with respect to samples."""
        ...

    def to(self, device: torch.device) -> None:
        """Encodes for this device from here on."""
        ...

    def check(self, samples: object) -> None:
        """Raises InputError for samples of another medium, type or shape; reads no value on an accelerator."""
        ...

    def in_range(self, samples: Kind) -> Tensor | None:
        """Whether every value is within its bounds, as a flag on the samples' device; None where there are none."""
        ...

    def encode(self, samples: Kind) -> Tensor:
        """What the victim's network takes."""
        ...

    def probe(self) -> Kind:
        """One harmless sample."""
        ...

    def to_input_space(self, samples: Kind) -> Kind:
        """Turns raw samples into what queries look like."""
        ...


def victim_queries(victim: str, card: AnyCard, input_space: InputSpace = "pre_transform") -> Queries[Any]:
    """How a victim is asked.

    Args:
        victim: Name of a shipped victim, or its folder.
        card: Its card.
        input_space: Of an image victim's queries.

    Raises:
        InputError: The input space does not fit the medium, or the tokenizer of a text victim is damaged.
    """
    if isinstance(card, VictimCard):
        shape = card.channels, card.image_size, card.image_size
        return ImageQueries(shape, card.mean, card.std, input_space)
    if input_space != "pre_transform":
        raise InputError(
            f"input_space is {input_space}, but {victim!r} is a text victim, which reads raw sentences; "
            "set input_space to pre_transform"
        )
    return TextQueries(load_tokenizer(victim), card.sentence_length)
