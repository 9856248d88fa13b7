"""The run folder's summary: the headline numbers and the proof of the account."""

import json
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_extract.attacks.base import ExtractionAttack
from lightning_extract.callbacks.collapse import CollapseWatchdog
from lightning_extract.callbacks.metrics_file import MetricsFile, rounded
from lightning_extract.durable_file import write_durably

PACKAGES = ("lightning_extract", "torch", "torchvision", "lightning", "torchmetrics")


class RunSummary(Callback):
    """Keeps final, best-on-held-out and best-on-test numbers and writes ``summary.json`` at every evaluation.

    The final numbers are the headline. Those best on the test set are what several official codes report; they
    select by the test set and stand here for comparison only.

    Args:
        experiment: Name under which reports group the run.
        seed: Seed of the run.
        metrics_file: The run folder's table, continued on resume.
        watchdog: Whose reports are repeated in the summary.
    """

    def __init__(self, experiment: str, seed: int, metrics_file: MetricsFile, watchdog: CollapseWatchdog) -> None:
        self.experiment, self.seed = experiment, seed
        self.metrics_file, self.watchdog = metrics_file, watchdog
        self.rows: dict[str, dict[str, float]] = {}
        self._seconds_before = 0.0
        self._started = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock and cuts the table back to what the checkpoint knows."""
        assert isinstance(pl_module, ExtractionAttack)
        self._started = time.monotonic()
        self.metrics_file.resume_at(pl_module.iterations_done)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets the evaluation before: Lightning keeps its metrics, of which this one may lack some."""
        trainer.callback_metrics.clear()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the evaluation that has just been logged."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        assert isinstance(pl_module, ExtractionAttack)
        row = {name: rounded(name, float(value)) for name, value in trainer.callback_metrics.items()}
        self.rows["final"] = row
        if "best_test" not in self.rows or row["accuracy"] > self.rows["best_test"]["accuracy"]:
            self.rows["best_test"] = row
        if row.get("heldout_best"):  # the attack compares on one set, which grows from evaluation to evaluation
            model = pl_module.heldout_model
            chosen = {name: row[f"{name}_{model}"] for name in ("accuracy", "agreement") if model != "vote"}
            self.rows["best_heldout"] = row | chosen
        self.write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the summary of a run that has ended, also when it had ended before."""
        if self.rows:
            self.write(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Rows and seconds so far, for a checkpoint."""
        return {"rows": self.rows, "seconds": self._seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores them."""
        self.rows = state_dict["rows"]
        self._seconds_before = state_dict["seconds"]

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes ``summary.json`` on the first process."""
        assert isinstance(pl_module, ExtractionAttack)
        referenced = torch.tensor(pl_module.oracle.referenced, device=pl_module.device)
        referenced = trainer.strategy.reduce(referenced, reduce_op="sum")  # each process evaluates its share
        labels = pl_module.oracle.all_label_counts()  # on every process, since it sums over them
        if trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / "summary.json"
            text = json.dumps(self._summary(trainer, pl_module, int(referenced), labels), indent=2) + "\n"
            write_durably(path, text.encode())

    def _status(self, attack: ExtractionAttack) -> str:
        if self.watchdog.stop and self.watchdog.reports:
            return "collapsed"
        return "finished" if attack.finished else "unfinished"

    def _summary(
        self, trainer: Trainer, attack: ExtractionAttack, referenced: int, labels: list[int]
    ) -> dict[str, Any]:
        ledger, oracle, card = attack.ledger, attack.oracle, attack.victim_card
        after_stop = 0 if attack.answered_at_stop is None else oracle.answered - attack.answered_at_stop
        return {
            "format_version": 1,
            "status": self._status(attack),
            "experiment": self.experiment,
            "attack": type(attack).__name__,
            "access": attack.threat_model.access,
            "input_space": attack.threat_model.input_space,
            "seed": self.seed,
            "victim": {
                "name": attack.threat_model.victim,
                "network": card.network,
                "dataset": card.dataset,
                "num_classes": card.num_classes,
                "card_accuracy": card.test_accuracy,
                "weights_sha256": card.weights_sha256,
            },
            "victim_accuracy": attack.victim_accuracy,
            "queries": {
                "budget": ledger.budget,
                "spent": ledger.spent,
                "by_phase": ledger.by_phase,
                "answered": oracle.answered,
                "from_store": oracle.from_store,
                "after_stop": after_stop,
                "reference": referenced,
                "prior": sum(run["queries"] for run in getattr(attack, "start_from", [])),
            },
            "final": self.rows["final"],
            "best_heldout": self.rows.get("best_heldout"),
            "best_test": self.rows["best_test"],
            "queries_to_accuracy": {str(goal): queries for goal, queries in attack.goals.queries.items()},
            "label_counts": labels,
            "classes": _class_names(trainer),
            "start_from": getattr(attack, "start_from", []) or None,
            "class_discovery": attack.classes.history,
            "collapse": list(self.watchdog.reports.values()),
            "wall_time_seconds": self._seconds(),
            "queries_per_second": ledger.spent / max(self._seconds(), 1e-9),
            "device": str(attack.device),
            "processes": trainer.world_size,
            "precision": str(trainer.precision),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "git_commit": _git_commit(),
        }


def _class_names(trainer: Trainer) -> list[str] | None:
    """The classes' names as the test set has them, or None."""
    test_set = getattr(getattr(trainer, "datamodule", None), "test_set", None)
    return list(getattr(test_set, "classes", ())) or None


def _git_commit() -> str | None:
    """Commit of the code that ran, with a mark when it was changed since; none outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
