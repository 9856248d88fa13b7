"""What is known of a victim."""

import json
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from lightning_extract.errors import InputError

CARD_FILE = "card.json"
FORMAT_VERSION = 1

Medium = Literal["images", "text"]
Kinds = dict[str, tuple[type, ...]]
AnyKind = TypeVar("AnyKind", bound="Card")


@dataclass(frozen=True, kw_only=True)
class Card:
    """The record that lies beside the weights of any victim.

    Args:
        network: Name for ``build_classifier``, or ``build_text_classifier``.
        num_classes: Number of classes.
        dataset: What it was trained on.
        split: The split that the accuracy was measured on.
        test_accuracy: Fraction of that split answered correctly; None when nobody measured it.
        recipe: How it was trained, or where it comes from.
        weights_sha256: Hash of the weights file.
        format_version: Of this record.

    Raises:
        InputError: A value is impossible.
    """

    network: str
    num_classes: int
    dataset: str
    split: str
    test_accuracy: float | None
    recipe: dict[str, Any]
    weights_sha256: str
    format_version: int = FORMAT_VERSION

    medium: ClassVar[Medium]
    # What JSON may hold under each name.
    kinds: ClassVar[Kinds] = {
        "network": (str,),
        "num_classes": (int,),
        "dataset": (str,),
        "split": (str,),
        "test_accuracy": (float, int, type(None)),
        "recipe": (dict,),
        "weights_sha256": (str,),
        "format_version": (int,),
    }

    def __post_init__(self) -> None:
        if self.test_accuracy is not None and not 0 <= self.test_accuracy <= 1:
            raise InputError(f"test_accuracy is {self.test_accuracy}, it must be a fraction between 0 and 1")
        if self.format_version != FORMAT_VERSION:
            raise InputError(
                f"victim card has format version {self.format_version}, this release reads {FORMAT_VERSION}; "
                "import or train the victim again"
            )

    def to_json(self) -> str:
        """The card as text."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls: type[AnyKind], text: str, source: str | Path = CARD_FILE) -> AnyKind:
        """Reads a card strictly.

        Args:
            text: The JSON text.
            source: Named in errors.

        Raises:
            InputError: No JSON, or a key is missing, unknown or of another type.
        """
        values = parse_card(text, source)
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise InputError(
                f"{source} is no victim card of this release: missing {sorted(names - set(values))}, "
                f"unknown {sorted(set(values) - names)}; import or train the victim again"
            )
        for name, kinds in cls.kinds.items():
            if not isinstance(values[name], kinds) or isinstance(values[name], bool):
                raise InputError(f"{source}: {name} is {values[name]!r}, expected {kinds[0].__name__}")
        for name, value in values.items():
            if isinstance(value, list):
                if not all(isinstance(number, int | float) for number in value):
                    raise InputError(f"{source}: {name} is {value!r}, expected numbers")
                values[name] = tuple(value)
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class VictimCard(Card):
    """The card of an image victim.

    Args:
        channels: 1 for grey, 3 for colour.
        image_size: Height and width in pixels.
        mean: Channel means of its normalisation, of images in [0, 1].
        std: Channel deviations of the same.

    Raises:
        InputError: A value is impossible.
    """

    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    medium: ClassVar[Medium] = "images"
    kinds: ClassVar[Kinds] = Card.kinds | {"channels": (int,), "image_size": (int,), "mean": (list,), "std": (list,)}

    def __post_init__(self) -> None:
        check_normalisation(self.mean, self.std, self.channels)
        super().__post_init__()


def parse_card(text: str, source: str | Path) -> dict[str, Any]:
    """The values of a card by name, not yet checked.

    Raises:
        InputError: The text is no JSON object.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{source} is not valid JSON ({error}); import or train the victim again") from error
    if not isinstance(values, dict):
        raise InputError(f"{source} is no victim card: it holds no names and values; import or train the victim again")
    return values


def check_normalisation(mean: tuple[float, ...], std: tuple[float, ...], channels: int) -> None:
    """Refuses means and deviations that do not fit the channels.

    Raises:
        InputError: Wrong length, not finite, or a deviation that is not positive.
    """
    if len(mean) != channels or len(std) != channels:
        raise InputError(f"mean {list(mean)} and std {list(std)} need one number a channel, there are {channels}")
    if not all(map(isfinite, (*mean, *std))) or min(std) <= 0:
        raise InputError(f"mean {list(mean)} must be finite and std {list(std)} positive, of images in [0, 1]")
