"""The run folder's record of what was run, and the refusal to mix two runs in one folder."""

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from lightning_extract.durable_file import write_durably
from lightning_extract.errors import InputError

# What decides a run's numbers. Devices, loggers and folders may change when a run is resumed.
DECISIVE_KEYS = ("seed_everything", "model", "data")
EXCEPTIONS = (
    "data.init_args.root",
    "data.init_args.pool_root",
    "data.init_args.download",
    "data.init_args.eval_batch_size",
    "data.init_args.pool_cache",
    "data.init_args.shapes.cache",
    "model.init_args.replay.device",
    "model.init_args.selection.deepfool.batch_size",
)


class RunRecord(SaveConfigCallback):
    """Writes ``config.yaml``, or compares it when the folder already holds a run."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compares, before anything is loaded.

        Raises:
            InputError: The folder holds a run with another configuration, or cannot be made.
        """
        path = _record_path(trainer)
        if path.is_file():
            self._refuse_other_run(path, stage)
        if stage != "fit":
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"run folder {path.parent} cannot be made ({error.strerror}); choose another --run_dir"
            ) from error

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes, when all is checked and nothing bought: a start that was refused leaves no record to collide with."""
        path = _record_path(trainer)
        if trainer.is_global_zero and not path.is_file():
            write_durably(path, self._text().encode())

    def resolved(self) -> dict[str, Any]:
        """The whole config of this start, in plain types."""
        return dict(yaml.safe_load(self._text()))

    def _text(self) -> str:
        return str(self.parser.dump(self.config, skip_none=False))

    def _refuse_other_run(self, path: Path, stage: str) -> None:
        try:
            recorded = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError):
            recorded = None
        if not isinstance(recorded, dict):
            raise InputError(f"{path} is no run's record; choose another --run_dir or remove that folder")
        old, new = decisive(recorded, stage), decisive(self.resolved(), stage)
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        if changed:
            key = changed[0]
            others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise InputError(
                f"run folder {path.parent} holds a different run: {key} is {old.get(key)} there and {new.get(key)} now"
                f"{others}; choose another --run_dir or remove that folder"
            )


def _record_path(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "config.yaml"


def decisive(config: dict[str, Any], stage: str) -> dict[str, Any]:
    """What must be equal between a run's starts; for evaluation the model alone, which may be tried on other data."""
    leaves = _flatten({key: config.get(key) for key in (DECISIVE_KEYS if stage == "fit" else ("model",))})
    if stage == "fit":
        leaves["trainer.precision"] = str(config.get("trainer", {}).get("precision") or "32-true")
    return {key: value for key, value in leaves.items() if key not in EXCEPTIONS}


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for key, branch in tree.items():
        leaves |= _flatten(branch, f"{prefix}.{key}" if prefix else key)
    return leaves
