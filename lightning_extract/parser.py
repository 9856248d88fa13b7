"""The argument parser's errors, shortened to the line that matters."""

import sys
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

# jsonargparse reports the attempt to read a value as each type that it may have; a run's parts are never None.
NOISE = (
    "Does not validate against any of the Union subtypes",
    "Subtypes:",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Expected a path but",
    "Given value",
)
REWORDED = {"Expected a dot import path string:": "no class is known by the name"}


class OneLineErrorParser(LightningArgumentParser):
    """LightningCLI's parser, whose errors are one line instead of a usage text and a tree of attempts."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints the error and exits with status 2."""
        print(f"lightning-extract: error: {shorten(message)}; see lightning-extract COMMAND --help", file=sys.stderr)
        sys.exit(2)


def shorten(message: str) -> str:
    """One line with what was wrong, without the failed attempts that do not matter.

    Example:
        >>> shorten('Parser key "data":\\n  Errors:\\n    - Option "x" is not accepted\\n  Given value: 3')
        'Parser key "data": Option "x" is not accepted'
    """
    lines = (line.strip().removeprefix("- ") for line in message.splitlines())
    text = " ".join(line for line in lines if line and not line.startswith(NOISE))
    for old, new in REWORDED.items():
        text = text.replace(old, new)
    return text
