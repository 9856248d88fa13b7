"""The command line as a user meets it: its parser, its errors, and its console script."""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from lightning.pytorch.cli import LightningArgumentParser

from lightning_extract.cli import main
from lightning_extract.commands import run_cli
from lightning_extract.extract_cli import ExtractCLI

CONFIGS = Path(__file__).parent.parent / "configs"


class _ParserIsBuilt(Exception):
    pass


def real_parser() -> LightningArgumentParser:
    """The parser of the command line; nothing is parsed or run."""
    parsers: list[LightningArgumentParser] = []

    def keep(cli: ExtractCLI, parser: LightningArgumentParser, args: object) -> None:
        parsers.append(parser)
        raise _ParserIsBuilt

    with patch.object(ExtractCLI, "parse_arguments", keep), pytest.raises(_ParserIsBuilt):
        run_cli([])
    return parsers[0]


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Runs a command that must fail with one message, within this process; returns the message."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    return only_message(capsys.readouterr().err)


def only_message(stderr: str) -> str:
    """The message on stderr, which must stand there once, without a traceback and without a usage text."""
    start = "lightning-extract: error: "
    assert stderr.count(start) == 1, stderr
    before, message = stderr.split(start)
    for unwelcome in ("Traceback", "usage:", 'File "'):
        assert unwelcome not in stderr, stderr
    # A run may have begun before: then its progress bar stands above the message, and what the watchdog says.
    expected = ("queries/s", "warning: COLLAPSE")
    assert all(any(part in line for part in expected) or not line.strip() for line in before.splitlines()), before
    return message.strip()


def start_script(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Starts the console script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "lightning_extract", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"} | environment,
    )


def run_script(*arguments: str | Path, **environment: str) -> str:
    """Runs the console script to its end, which must be a good one; returns what it printed."""
    process = start_script(*arguments, **environment)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return output
