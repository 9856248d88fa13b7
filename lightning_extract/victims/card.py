"""What is known of a victim."""

import json
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

from lightning_extract.errors import InputError

CARD_FILE = "card.json"
FORMAT_VERSION = 1

_Kinds = tuple[type, ...]
_KINDS: dict[str, _Kinds] = {
    "network": (str,),
    "num_classes": (int,),
    "channels": (int,),
    "image_size": (int,),
    "dataset": (str,),
    "split": (str,),
    "mean": (list,),
    "std": (list,),
    "test_accuracy": (float, int, type(None)),
    "recipe": (dict,),
    "weights_sha256": (str,),
    "format_version": (int,),
}


@dataclass(frozen=True)
class VictimCard:
    """The record that lies beside a victim's weights.

    Args:
        network: Name for ``build_classifier``.
        num_classes: Number of classes.
        channels: 1 for grey, 3 for colour.
        image_size: Height and width in pixels.
        dataset: What it was trained on.
        split: The split that the accuracy was measured on.
        mean: Channel means of its normalisation, of images in [0, 1].
        std: Channel deviations of the same.
        test_accuracy: Fraction of that split answered correctly; None when nobody measured it.
        recipe: How it was trained, or where it comes from.
        weights_sha256: Hash of the weights file.
        format_version: Of this record.

    Raises:
        InputError: A value is impossible.
    """

    network: str
    num_classes: int
    channels: int
    image_size: int
    dataset: str
    split: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    test_accuracy: float | None
    recipe: dict[str, Any]
    weights_sha256: str
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        check_normalisation(self.mean, self.std, self.channels)
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
    def from_json(cls, text: str, source: str | Path = CARD_FILE) -> "VictimCard":
        """Reads a card strictly.

        Args:
            text: The JSON text.
            source: Named in errors.

        Raises:
            InputError: No JSON, or a key is missing, unknown or of another type.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{source} is not valid JSON ({error}); import or train the victim again") from error
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            found = set(values) if isinstance(values, dict) else set()
            raise InputError(
                f"{source} is no victim card of this release: missing {sorted(names - found)}, "
                f"unknown {sorted(found - names)}; import or train the victim again"
            )
        for name, kinds in _KINDS.items():
            if not isinstance(values[name], kinds) or isinstance(values[name], bool):
                raise InputError(f"{source}: {name} is {values[name]!r}, expected {kinds[0].__name__}")
        for name in ("mean", "std"):
            if not all(isinstance(number, int | float) for number in values[name]):
                raise InputError(f"{source}: {name} is {values[name]!r}, expected numbers")
            values[name] = tuple(values[name])
        return cls(**values)


def check_normalisation(mean: tuple[float, ...], std: tuple[float, ...], channels: int) -> None:
    """Refuses means and deviations that do not fit the channels.

    Raises:
        InputError: Wrong length, not finite, or a deviation that is not positive.
    """
    if len(mean) != channels or len(std) != channels:
        raise InputError(f"mean {list(mean)} and std {list(std)} need one number a channel, there are {channels}")
    if not all(map(isfinite, (*mean, *std))) or min(std) <= 0:
        raise InputError(f"mean {list(mean)} must be finite and std {list(std)} positive, of images in [0, 1]")
