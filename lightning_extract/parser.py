"""The argument parser's errors, shortened to the line that matters."""

import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import yaml
from lightning.pytorch.cli import LightningArgumentParser

from lightning_extract.errors import InputError

PROGRAM = "lightning-extract"
USAGE = f"{PROGRAM} COMMAND --config FILE [--KEY VALUE ...]"

# jsonargparse reports the attempt to read a value as each type that it may have; a run's parts are never None.
NOISE = (
    "Does not validate against any of the Union subtypes",
    "Subtypes:",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Expected a path but",
    "Given value",
)
REWORDED = {
    r'Parser key "config": ': "",
    r'Parser key "([^"]+)":': r"\1:",
    r"Expected a dot import path string:": "no class is known by the name",
    r"Expected a <class 'int'>": "expected a whole number",
    r"Expected a <class 'float'>": "expected a number",
    r"Expected a <class 'bool'>": "expected true or false",
    r"Expected a <class 'str'>": "expected text",
    r"Expected a <class '(?:list|tuple|collections\.abc\.Iterable)'>": "expected a list as [1,2]",
    r"Expected a typing\.Literal\[(.*?)\]": r"expected one of \1",
    r"Problem with given class_path '(?:\w+\.)*(\w+)':": r"\1:",
    r"Type typing\.\w+\[.*\] expects a function or a callable class: ": "",
    r"\. Got value: Namespace\(.*": "",
    r"\. Got value: ": ", got ",
    r"Not of type \w*Float: (\S+) does not conform to restriction v(.*)": r"expected a number \2, got \1",
    r"Not of type \w+: (\S+) does not conform to restriction v(.*)": r"expected a whole number \2, got \1",
    r" and v(?=[<>])": " and ",
    r"Not of type \w+: invalid literal for int\(\) with base 10: ": "expected a whole number, got ",
    r"(expected a whole number, got (\d+)\.0)$": r"\1 (write \2, without point or exponent)",
    r"\.$": "",
}


class OneLineErrorParser(LightningArgumentParser):
    """LightningCLI's parser, whose errors are one line instead of a usage text and a tree of attempts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Parsers that jsonargparse makes itself, for the help of a class, would take the name of the started file.
        super().__init__(*args, **{"prog": PROGRAM, "usage": USAGE} | kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints the error and exits with status 2."""
        if not self.exit_on_error:  # an attempt, for example to read the arguments of a class
            super().error(message, ex)
        print(f"{PROGRAM}: error: {shorten(message)}; see {PROGRAM} COMMAND --help", file=sys.stderr)
        sys.exit(2)

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """The help text, without Python's way to write a type."""
        return re.sub(r"<class\s+'Path'>", "path", super().format_help(*args, **kwargs))


def shorten(message: str) -> str:
    r"""One line with what was wrong, without the failed attempts that do not matter.

    Example:
        >>> shorten('Parser key "data":\n  Errors:\n    - Option "x" is not accepted\n  Given value: 3')
        'data: Option "x" is not accepted'
        >>> shorten('Parser key "a":\n  Errors:\n    - Expected a <class \'int\'>\n    - Expected a <class \'str\'>')
        'a: expected a whole number or expected text'
        >>> shorten('Parser key "model.batch_size":\n  Expected a <class \'int\'>. Got value: 2000.0')
        'model.batch_size: expected a whole number, got 2000.0 (write 2000, without point or exponent)'
    """
    head, *attempts = (
        " ".join(line for line in map(str.strip, part.splitlines()) if line and not line.startswith(NOISE))
        for part in re.split(r"^\s*- ", message, flags=re.MULTILINE)
    )
    text = f"{head} {' or '.join(filter(None, attempts))}".strip()
    for old, new in REWORDED.items():
        text = re.sub(old, new, text)
    value = re.search(r"Given value: ([^\n({\[]+)$", message)
    return text if value is None or ", got " in text or "expected" not in text else f"{text}, got {value[1]}"


def check_config_files(arguments: list[str]) -> None:
    """Refuses config files that are missing or no YAML mapping; jsonargparse would not say which file it is.

    Args:
        arguments: The command line.

    Raises:
        InputError: A file is missing, empty, broken or something else than a mapping.
    """
    for option, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = option.partition("=")
        path = Path(value if equals else following)
        if name not in ("-c", "--config") or path == Path() or str(path).startswith("-"):
            continue
        if not path.is_file():
            raise InputError(f"config file {path} does not exist; give the path of a .yaml file")
        try:
            content = yaml.safe_load(path.read_text())
        except yaml.MarkedYAMLError as error:
            place = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
            raise InputError(f"config file {path} is no valid YAML{place}: {error.problem}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"config file {path} is no text; give a .yaml file") from error
        if not isinstance(content, dict):
            raise InputError(f"config file {path} holds no settings; give a file like those in configs/")
