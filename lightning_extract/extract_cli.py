"""Lightning's command line, which gives every run a folder and an attack its essential callbacks."""

import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveFloat, PositiveInt, restricted_number_type
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from lightning_extract.attacks.base import ExtractionAttack
from lightning_extract.attacks.data_free import DataFreeAttack
from lightning_extract.callbacks.answer_keeping import AnswerKeeping
from lightning_extract.callbacks.collapse import CollapseWatchdog
from lightning_extract.callbacks.gradient_quality import GradientQuality
from lightning_extract.callbacks.metrics_file import MetricsFile
from lightning_extract.callbacks.predictions import PredictionFile
from lightning_extract.callbacks.progress import QueryProgressBar
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.callbacks.query_budget import QueryBudget
from lightning_extract.callbacks.run_checkpoint import RunCheckpoint, checkpoint_to_continue, readable_neighbour
from lightning_extract.callbacks.run_lock import run_lock
from lightning_extract.callbacks.run_summary import RunSummary
from lightning_extract.callbacks.sample_sheet import SampleSheet
from lightning_extract.callbacks.transfer import TransferReport
from lightning_extract.complaints import naming_the_file, say_stopped
from lightning_extract.dashboards.wandb_dashboard import WandbDashboard, shown_on_dashboards
from lightning_extract.errors import InputError
from lightning_extract.metrics.transfer_measurement import TransferMeasurement
from lightning_extract.metrics.transfer_settings import TransferSettings
from lightning_extract.processes import ProcessLink, several_processes
from lightning_extract.reports.run_view import show_run
from lightning_extract.reports.transfer import show_transfer

_POINTER = "An attack's settings are listed by --model.help DisGUIDE, those of its data by --data.help GeneratorStream."
LIGHTNING_COMMANDS = {
    "fit": f"Runs an attack or trains a victim; given again, it continues a run that was interrupted. {_POINTER}",
    "validate": f"Evaluates the last checkpoint of a run on the test images. {_POINTER}",
    "test": f"Evaluates the last checkpoint of a run on the test images. {_POINTER}",
    "predict": f"Writes the extracted model's answers on the test images to predictions.csv. {_POINTER}",
}

Seed = restricted_number_type("Seed", int, [(">=", 0), ("<=", 2**32 - 1)])

TRAINER_DEFAULTS: dict[str, Any] = {
    "devices": 1,
    "max_epochs": -1,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "use_distributed_sampler": False,  # data modules share out the images themselves, without padding
}
# They cut epochs or the test set, or step the optimizers otherwise, and the numbers would not show it.
NOT_FOR_ATTACKS = (
    "accumulate_grad_batches",
    "barebones",
    "fast_dev_run",
    "gradient_clip_val",
    "limit_train_batches",
    "limit_val_batches",
    "max_steps",
    "max_time",
    "min_epochs",
    "min_steps",
    "overfit_batches",
    "val_check_interval",
)
GROUP_TITLES = {
    "trainer": "Lightning's trainer",
    "model": "The experiment: an attack, or the training of a victim",
    "data": "Its data",
    "collapse": "The watchdog, which warns when an attack learns nothing",
    "gradient_quality": "The comparison of the generator's gradient with the true one, off by default",
}


class ExtractCLI(LightningCLI):
    """LightningCLI that gives every run a folder and an attack its essential callbacks."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's four commands."""
        skipped = {"model", "datamodule", "dataloaders", "weights_only", "verbose", "return_predictions"}
        skipped |= {"train_dataloaders", "val_dataloaders", "ckpt_path"}
        return dict.fromkeys(LIGHTNING_COMMANDS, skipped)

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the seed."""
        help_text = "Seed of all random draws of a run, a whole number from 0."
        parser.add_argument("--seed_everything", type=Seed, default=self.seed_everything_default, help=help_text)

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
        help_text = "Seconds that a process waits for another, which may choose or draw alone, before it gives up."
        parser.add_argument("--process_timeout", type=PositiveFloat, default=3600.0, help=help_text)
        help_text = "Checkpoint to continue or to evaluate; the run folder's last one by default."
        parser.add_argument("--ckpt_path", type=str | None, default=None, help=help_text)
        help_text = "Keep bought answers on disk, so that a kill loses the batch in flight at most; on an accelerator "
        help_text += "each query is copied to the CPU and waited for."
        parser.add_argument("--keep_answers", type=bool, default=False, help=help_text)
        parser.add_lightning_class_args(CollapseWatchdog, "collapse")
        parser.add_lightning_class_args(GradientQuality, "gradient_quality")
        for key, title in GROUP_TITLES.items():
            (parser.groups or {})[key].title = title

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Gives ``test`` alone the evasion attacks: they are no part of a run."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "test":
            parser.add_class_arguments(TransferSettings, "transfer")
            (parser.groups or {})["transfer"].title = "Evasion attacks on the victim that are crafted on the clone"
        return parser

    def _parse_ckpt_path(self) -> None:
        """Nothing: a checkpoint never changes the config, and is opened later, with a message when it is broken."""

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
        self.link = ProcessLink(self.run_dir, self.settings.process_timeout)
        kwargs |= several_processes(trainer, self.settings.process_timeout)
        configured = self.config_init[self.subcommand].trainer
        loggers, callbacks = _as_list(configured.logger), [self.link, *_as_list(configured.callbacks)]
        if self.subcommand == "fit":
            key = "iteration" if isinstance(self.model, ExtractionAttack) else "epoch"
            metrics_file = MetricsFile(self.run_dir, key)
            loggers.append(metrics_file)
            callbacks += self._fit_callbacks(metrics_file)
            callbacks += [logger for logger in loggers if isinstance(logger, WandbDashboard)]
        elif self.subcommand == "predict":
            callbacks.append(PredictionFile())
        elif self.subcommand == "test" and self.settings.transfer.epsilons and not self.settings.transfer.attacks:
            raise InputError("transfer.epsilons are given without transfer.attacks; name some of fgsm, bim and pgd")
        elif self.subcommand == "test" and self.settings.transfer.attacks:
            if not isinstance(self.model, ExtractionAttack):
                raise InputError("transfer.attacks need a clone, but this config trains a victim; remove them")
            callbacks.append(TransferReport(TransferMeasurement(self.config_init.test.transfer)))
        try:
            return super().instantiate_trainer(
                default_root_dir=str(self.run_dir), logger=loggers or False, callbacks=callbacks, **kwargs
            )
        except (TypeError, ValueError) as error:
            raise InputError(f"Lightning refuses the trainer's settings: {error}") from error

    def _fit_callbacks(self, metrics_file: MetricsFile) -> list[Callback]:
        trainer = self.settings.trainer
        attack = isinstance(self.model, ExtractionAttack)
        filename = "{queries:.0f}" if attack else "{epoch}"
        checkpoint = RunCheckpoint(self.run_dir / "checkpoints", filename, self.settings.checkpoint_every)
        checkpoints: list[Callback] = [] if trainer.enable_checkpointing is False else [checkpoint]
        if not attack:
            if self.settings.keep_answers:
                raise InputError("keep_answers is true, but this config trains a victim, which asks none; remove it")
            return checkpoints
        _refuse_unfit(trainer)
        watchdog = self.config_init[self.subcommand].collapse
        summary = RunSummary(self.settings.experiment, self.settings.seed_everything, metrics_file, watchdog)
        bar = [] if trainer.enable_progress_bar is False else [QueryProgressBar(self.settings.experiment)]
        generates = isinstance(self.model, DataFreeAttack) and hasattr(self.model, "generator")
        sheets = [SampleSheet(self.settings.experiment)] if generates else []  # before the summary, which counts them
        keeping = [AnswerKeeping()] if self.settings.keep_answers else []
        return [*keeping, QueryBudget(), QueryAxis(), *sheets, summary, *bar, *checkpoints]

    # The commands, as LightningCLI calls them.

    def fit(self, **parts: Any) -> None:
        """Starts a run or continues the one that the folder holds, and shows people what came out."""
        self._refuse_missing_files(fitting=True)
        # Processes that the first one has started work in its folder.
        lock = run_lock(self.run_dir) if self.trainer.is_global_zero else nullcontext()
        with naming_the_file(self.run_dir), lock, shown_on_dashboards(self.trainer.loggers):
            self._fit(parts)

    def _fit(self, parts: dict[str, Any]) -> None:
        given = self.settings.ckpt_path
        if given in (None, "last"):
            given = checkpoint_to_continue(self.run_dir / "checkpoints", self.trainer.is_global_zero)
            if given is None and (self.run_dir / "metrics.csv").is_file():
                rank_zero_warn(f"{self.run_dir} holds a run without a checkpoint: it starts again with its first query")
        self._check_checkpoint(given)
        with self.link.together():
            try:
                self.trainer.fit(**parts, ckpt_path=None if given is None else str(given))
            except SystemExit as stop:  # Lightning's answer to Ctrl-C and, without a code for failure, to SIGTERM
                rank_zero_only(say_stopped)(self.run_dir)
                sys.exit(stop.code or 143)
        if (self.run_dir / "summary.json").is_file():
            rank_zero_only(show_run)(self.run_dir)

    def validate(self, **parts: Any) -> None:
        """Evaluates a checkpoint."""
        self._evaluate(self.trainer.validate, parts)

    def test(self, **parts: Any) -> None:
        """Evaluates a checkpoint and, where asked, how well evasion attacks carry over from its clone."""
        self._evaluate(self.trainer.test, parts)
        if self.settings.transfer.attacks:
            rank_zero_only(show_transfer)(self.run_dir)

    def predict(self, **parts: Any) -> None:
        """Writes predictions of a checkpoint."""
        self._evaluate(self.trainer.predict, parts)

    def _evaluate(self, command: Callable[..., Any], parts: dict[str, Any]) -> None:
        self._refuse_missing_files(fitting=False)
        last = self.run_dir / "checkpoints" / "last.ckpt"
        given = self.settings.ckpt_path
        if given in (None, "last"):
            if not last.is_file():
                raise InputError(f"{last} does not exist; run fit first, or give --run_dir or --ckpt_path")
            given = str(last)
        self._check_checkpoint(given)
        with self.link.together():
            command(**parts, ckpt_path=given)

    def _refuse_missing_files(self, fitting: bool) -> None:
        parts = (self.model, self.datamodule)
        asked = [part.describe_missing(fitting) for part in parts if hasattr(part, "describe_missing")]
        missing = [text for texts in asked for text in texts]
        if missing:
            raise InputError("\n  ".join(["cannot start, something is missing:", *dict.fromkeys(missing)]))

    def _check_checkpoint(self, path: str | Path | None) -> None:
        if path is None:
            return
        if not Path(path).is_file():
            raise InputError(f"checkpoint {path} does not exist; give the path of a .ckpt file")
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # a damaged file leads the reader into every kind of error
            other = readable_neighbour(Path(path))
            remedy = "give another, or remove it to start the run again with its first query"
            if other is not None:
                remedy = f"give --ckpt_path {other}, which can be read, or another"
            raise InputError(
                f"checkpoint {path} cannot be read ({type(error).__name__}: damaged, or more than tensors); {remedy}"
            ) from error
        weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
        if not isinstance(weights, dict) or "pytorch-lightning_version" not in checkpoint:
            raise InputError(f"{path} is no checkpoint of a run; give a file from a run folder's checkpoints/")
        own = self.model.state_dict()
        differing = [name for name in own | weights if _shape(own.get(name)) != _shape(weights.get(name))]
        if differing:
            raise InputError(
                f"checkpoint {path} holds other networks than this config: {len(differing)} tensors differ, the first "
                f"is {differing[0]}; give the config.yaml of the checkpoint's own run folder"
            )


def _refuse_unfit(trainer: Any) -> None:
    own = inspect.signature(Trainer.__init__).parameters
    for name in NOT_FOR_ATTACKS:
        value = getattr(trainer, name)
        if value != own[name].default:
            raise InputError(
                f"trainer.{name} is {value}, but an attack ends with its query_budget, evaluates on all test images "
                "after data.iterations_per_epoch iterations and steps its optimizers itself; remove it"
            )


def _shape(tensor: torch.Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape


def _as_list(value: Any) -> list[Any]:
    if value in (None, True, False):
        return []
    return list(value) if isinstance(value, Sequence) else [value]
