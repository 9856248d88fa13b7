"""The commands behind the command line."""

import sys
from collections.abc import Callable, Sequence
from functools import partial

from jsonargparse import auto_cli
from lightning.pytorch import LightningDataModule, LightningModule

import lightning_extract.attacks
import lightning_extract.data.generator_stream
import lightning_extract.data.image_data
import lightning_extract.victims.text_training
import lightning_extract.victims.training  # noqa: F401  (what is imported can be named in a config)
from lightning_extract.callbacks.run_record import RunRecord
from lightning_extract.complaints import end_with, quieten
from lightning_extract.dashboards.workspace import main as dashboard_command
from lightning_extract.errors import InputError
from lightning_extract.extract_cli import LIGHTNING_COMMANDS, TRAINER_DEFAULTS, ExtractCLI
from lightning_extract.parser import OneLineErrorParser, check_config_files
from lightning_extract.reports.report import main as report_command
from lightning_extract.reports.status import main as status_command
from lightning_extract.victims.importing import import_victim


def import_victim_command(argv: list[str]) -> None:
    """Reads the command line of ``import-victim`` and runs it."""
    auto_cli(
        import_victim,
        args=argv,
        as_positional=False,
        parser_class=OneLineErrorParser,
        usage="lightning-extract import-victim --weights FILE --network NAME --dataset NAME --out FOLDER ...",
        description="Makes a victim of weights that were trained elsewhere, as those published with DFAD.",
    )


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "report": partial(report_command, parser_class=OneLineErrorParser),
    "status": partial(status_command, parser_class=OneLineErrorParser),
    "import-victim": import_victim_command,
    "dashboard": partial(dashboard_command, parser_class=OneLineErrorParser),
}


def run_command(arguments: list[str], given: Sequence[str] | None) -> None:
    """Runs one command and turns mistakes of the user into one line.

    Args:
        arguments: The command and what stands behind it.
        given: The same when a program called, None when the process was started with them.
    """
    quieten()
    try:
        if arguments[0] in COMMANDS:
            COMMANDS[arguments[0]](arguments[1:])
        elif arguments[0] in LIGHTNING_COMMANDS:
            run_cli(given)
        else:
            known = ", ".join([*LIGHTNING_COMMANDS, *COMMANDS])
            raise InputError(f"{arguments[0]!r} is no command; give one of {known}")
    except Exception as error:
        end_with(error)


def run_cli(arguments: Sequence[str] | None = None) -> ExtractCLI:
    """Parses and runs one of Lightning's commands; without arguments those of the process."""
    check_config_files(list(sys.argv[1:] if arguments is None else arguments))
    return ExtractCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        save_config_callback=RunRecord,
        trainer_defaults=TRAINER_DEFAULTS,
        parser_class=OneLineErrorParser,
        parser_kwargs={name: {"description": text} for name, text in LIGHTNING_COMMANDS.items()},
        args=None if arguments is None else list(arguments),
    )
