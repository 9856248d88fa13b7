"""The run folder's record of what was run, and the refusal to mix two runs in one folder."""

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from lightning_extract.errors import InputError

# What decides a run's numbers. Devices, loggers and folders may change when a run is resumed.
DECISIVE_KEYS = ("seed_everything", "model", "data")


class RunRecord(SaveConfigCallback):
    """Writes ``config.yaml``, or compares it when the folder already holds a run."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Runs before any query.

        Raises:
            InputError: The folder holds a run with another configuration.
        """
        if stage != "fit":
            return
        path = Path(trainer.default_root_dir) / "config.yaml"
        text = self.parser.dump(self.config, skip_none=False)
        if path.is_file():
            self._refuse_other_run(path, yaml.safe_load(text))
        elif trainer.is_global_zero:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(text)
            partial.rename(path)  # whole or not at all: other processes look at this moment too

    def _refuse_other_run(self, path: Path, config: dict[str, Any]) -> None:
        recorded = yaml.safe_load(path.read_text())
        recorded = {key: recorded.get(key) for key in DECISIVE_KEYS}
        old, new = _flatten(recorded), _flatten({key: config.get(key) for key in DECISIVE_KEYS})
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        if changed:
            key = changed[0]
            others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise InputError(
                f"run folder {path.parent} holds a different run: {key} is {old.get(key)} there and {new.get(key)} now"
                f"{others}; choose another --run_dir or remove that folder"
            )


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for key, branch in tree.items():
        leaves |= _flatten(branch, f"{prefix}.{key}" if prefix else key)
    return leaves
