"""The argument parser's errors, shortened to the line that matters."""

from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

class OneLineErrorParser(LightningArgumentParser):
    """LightningCLI's parser, whose errors are one line instead of a usage text and a tree of attempts."""
