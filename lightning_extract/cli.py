"""The command line: LightningCLI with run folders, always-on callbacks and errors of one line."""

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli
from jsonargparse.typing import PositiveInt
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

import lightning_extract.attacks  # noqa: F401  (what is imported can be named in a config)
from lightning_extract.attacks.base import ExtractionAttack
from lightning_extract.callbacks.collapse import CollapseWatchdog
from lightning_extract.callbacks.metrics_file import MetricsFile
from lightning_extract.callbacks.predictions import PredictionFile
from lightning_extract.callbacks.progress import QueryProgressBar
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.callbacks.query_budget import QueryBudget
from lightning_extract.callbacks.run_record import RunRecord
from lightning_extract.callbacks.run_summary import RunSummary
from lightning_extract.data.generator_stream import GeneratorStream  # noqa: F401
from lightning_extract.data.image_data import ImageData  # noqa: F401
from lightning_extract.errors import InputError
from lightning_extract.oracle import QueryBudgetExceeded
from lightning_extract.parser import OneLineErrorParser
from lightning_extract.reports.report import main as report_command
from lightning_extract.reports.run_view import show_run
from lightning_extract.victims.importing import import_victim
from lightning_extract.victims.training import VictimTraining  # noqa: F401


def import_victim_command(argv: list[str]) -> None:
    """Reads the command line of ``import-victim`` and runs it."""
    auto_cli(import_victim, args=argv, prog="lightning-extract import-victim")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "report": report_command,
    "import-victim": import_victim_command,
}

DESCRIPTION = "Model-extraction experiments with an exact account of queries."
EPILOG = """\
further commands:
  report RUNS... --out DIR   tables and curves from run folders
  import-victim WEIGHTS ...  turns a foreign checkpoint into a victim with a card

examples:
  lightning-extract fit --config configs/quickstart.yaml
  lightning-extract fit --config configs/disguide_c100.yaml --seed_everything 3
  lightning-extract test --config runs/quickstart/seed_0/config.yaml
  lightning-extract report runs/quickstart --out report
"""

TRAINER_DEFAULTS: dict[str, Any] = {
    "devices": 1,
    "max_epochs": -1,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "use_distributed_sampler": False,  # data modules share out the images themselves, without padding
}


class ExtractCLI(LightningCLI):
    """LightningCLI that gives every run a folder and an attack its essential callbacks."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's four commands."""
        skipped = {"model", "datamodule", "dataloaders", "weights_only", "verbose", "return_predictions"}
        skipped |= {"train_dataloaders", "val_dataloaders"}
        return {name: skipped for name in ("fit", "validate", "test", "predict")}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what belongs to the run and not to trainer, model or data."""
        parser.add_argument(
            "--experiment", type=str | None, default=None, help="Name that groups runs; the config file's by default."
        )
        parser.add_argument(
            "--run_dir", type=str | None, default=None, help="Run folder; runs/<experiment>/seed_<seed> by default."
        )
        parser.add_argument(
            "--checkpoint_every", type=PositiveInt, default=1, help="Epochs between two checkpoints of a run."
        )
        parser.add_lightning_class_args(CollapseWatchdog, "collapse")

    @property
    def settings(self) -> Any:
        """The subcommand's parsed arguments."""
        return self.config[self.subcommand]

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return Path(self.settings.run_dir)

    def before_instantiate_classes(self) -> None:
        """Names the experiment and its folder where the user did not."""
        settings = self.settings
        if settings.experiment is None:
            given = settings.get("config") or []
            settings.experiment = Path(str(given[0])).stem if given else settings.model.class_path.rsplit(".", 1)[-1]
        if settings.run_dir is None:
            settings.run_dir = str(Path("runs") / settings.experiment / f"seed_{settings.seed_everything}")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Adds run folder, table, checkpoints and callbacks to what the config says."""
        trainer = self.settings.trainer
        if trainer.strategy == "auto" and (str(trainer.devices) not in ("1", "auto") or trainer.num_nodes > 1):
            kwargs["strategy"] = "ddp_find_unused_parameters_true"
        configured = self.config_init[self.subcommand].trainer
        loggers, callbacks = _as_list(configured.logger), _as_list(configured.callbacks)
        if self.subcommand == "fit":
            metrics_file = MetricsFile(self.run_dir, key="queries" if isinstance(self.model, ExtractionAttack) else "epoch")
            loggers.append(metrics_file)
            callbacks += self._fit_callbacks(metrics_file)
        elif self.subcommand == "predict":
            callbacks.append(PredictionFile())
        return super().instantiate_trainer(
            default_root_dir=str(self.run_dir), logger=loggers or False, callbacks=callbacks, **kwargs
        )

    def _fit_callbacks(self, metrics_file: MetricsFile) -> list[Callback]:
        attack = isinstance(self.model, ExtractionAttack)
        checkpoint = ModelCheckpoint(
            dirpath=self.run_dir / "checkpoints",
            filename="{queries:.0f}" if attack else "{epoch}",
            auto_insert_metric_name=False,
            every_n_epochs=self.settings.checkpoint_every,
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        if not attack:
            return [checkpoint]
        watchdog = self.config_init[self.subcommand].collapse
        summary = RunSummary(self.settings.experiment, self.settings.seed_everything, metrics_file, watchdog)
        return [QueryBudget(), QueryAxis(), summary, QueryProgressBar(self.settings.experiment), checkpoint]

    def before_fit(self) -> None:
        """Finds what is missing, and resumes the run that the folder holds."""
        self._refuse_missing_files()
        last = self.run_dir / "checkpoints" / "last.ckpt"
        given = self.config_init.fit.ckpt_path
        if given in (None, "last"):
            self.config_init.fit.ckpt_path = str(last) if last.is_file() else None
        self._check_checkpoint()

    def before_validate(self) -> None:
        """Takes the run's last checkpoint unless another is given."""
        self._refuse_missing_files()
        last = self.run_dir / "checkpoints" / "last.ckpt"
        if self.config_init[self.subcommand].ckpt_path in (None, "last"):
            if not last.is_file():
                raise InputError(f"{last} does not exist; run fit first, or give --run_dir or --ckpt_path")
            self.config_init[self.subcommand].ckpt_path = str(last)
        self._check_checkpoint()

    def before_test(self) -> None:
        """As for validate."""
        self.before_validate()

    def before_predict(self) -> None:
        """As for validate."""
        self.before_validate()

    def after_fit(self) -> None:
        """Shows people what came out."""
        if isinstance(self.model, ExtractionAttack):
            rank_zero_only(show_run)(self.run_dir)

    def _refuse_missing_files(self) -> None:
        parts = (self.model, self.datamodule)
        missing = [text for part in parts if hasattr(part, "describe_missing") for text in part.describe_missing()]
        if missing:
            raise InputError("\n  ".join(["cannot start, something is missing:", *missing]))

    def _check_checkpoint(self) -> None:
        path = self.config_init[self.subcommand].ckpt_path
        if path is None:
            return
        if not Path(path).is_file():
            raise InputError(f"checkpoint {path} does not exist; give the path of a .ckpt file")
        try:
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"checkpoint {path} cannot be read ({reason}); give another or remove it") from error


def _as_list(value: Any) -> list[Any]:
    if value in (None, True, False):
        return []
    return list(value) if isinstance(value, Sequence) else [value]


def _quieten() -> None:
    """Drops Lightning's hints that do not fit here: in-memory data need no workers, run folders no version."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``lightning-extract``.

    Args:
        argv: The command line behind the program's name; the process's own by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _quieten()
    try:
        if arguments and arguments[0] in COMMANDS:
            COMMANDS[arguments[0]](arguments[1:])
        else:
            run_cli(argv)
    except Exception as error:
        complaint = _find_complaint(error)
        if complaint is None:
            raise
        print(f"lightning-extract: error: {complaint}", file=sys.stderr)
        sys.exit(2)


def _find_complaint(error: BaseException | None) -> BaseException | None:
    """The message to the user behind an exception: jsonargparse and Lightning wrap what a constructor raises."""
    while error is not None and not isinstance(error, (InputError, QueryBudgetExceeded)):
        error = error.__cause__ or error.__context__
    return error


def run_cli(arguments: Sequence[str] | None = None) -> ExtractCLI:
    """Parses and runs one of Lightning's commands; without arguments those of the process."""
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
        parser_kwargs={"prog": "lightning-extract", "description": DESCRIPTION, "epilog": EPILOG},
        args=None if arguments is None else list(arguments),
    )
