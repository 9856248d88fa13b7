"""Classes by their names: choosing them, and finding those that two data sets share."""

import re
from difflib import get_close_matches

from lightning_extract.errors import InputError

SHOWN = 8  # names in a message
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# In the form to compare; torchvision calls a class of MNIST "7 - seven".
DIGITS = {name: str(n) for n, word in enumerate(DIGIT_WORDS) for name in (str(n), f"{n}{word}")}


def class_indices(pool: str, wanted: tuple[int | str, ...], classes: tuple[str, ...]) -> list[int]:
    """Indices of classes given by name or index.

    Args:
        pool: What messages call the pool.
        wanted: Names and indices.
        classes: All names of the pool.

    Raises:
        InputError: The pool has no such class.
    """
    outside = [index for index in wanted if isinstance(index, int) and index not in range(len(classes))]
    if outside:
        raise InputError(f"pool {pool!r} has the classes 0 to {len(classes) - 1}, pool_classes names {outside}")
    unknown = [name for name in wanted if isinstance(name, str) and name not in classes]
    if unknown:
        close = list(dict.fromkeys(match for name in unknown for match in get_close_matches(name, classes)))
        some = ", ".join(classes[:SHOWN]) + (", ..." if len(classes) > SHOWN else "")
        remedy = f"close to it: {', '.join(close)}" if close else f"it has {some}"
        raise InputError(f"pool {pool!r} has no class {', '.join(map(repr, unknown))}; {remedy}")
    return [classes.index(name) if isinstance(name, str) else name for name in wanted]


def shared_class_names(pool_classes: tuple[str, ...], victim_classes: tuple[str, ...]) -> list[str]:
    """The classes of a pool that the victim's data have too, in the pool's order and spelling.

    Names are compared in lower case, without spaces, underscores and hyphens; synonyms ("car", "automobile") and
    kinds ("pickup_truck", "truck") are not found. A number is mostly a mere index ("00013" of GTSRB) and names
    nothing. Where all classes of a side are single digits (SVHN, or "7 - seven" of MNIST), they are taken for pictures
    of digits: two such sides share the digits that both have.
    """
    pool, victim = _comparable(pool_classes), _comparable(victim_classes)
    known = set(victim) - {""}
    return [name for name, plain in zip(pool_classes, pool, strict=True) if plain in known]


def _comparable(classes: tuple[str, ...]) -> list[str]:
    """Names in the form to compare; empty where a name means nothing."""
    plain = [re.sub(r"[\s_-]", "", name.lower()) for name in classes]
    if all(name in DIGITS for name in plain):
        return [DIGITS[name] for name in plain]
    return ["" if name.isdecimal() else name for name in plain]
