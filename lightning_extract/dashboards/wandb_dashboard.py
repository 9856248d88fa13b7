"""The logger that shows runs on Weights & Biases, every number against queries."""

import hashlib
import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lightning_extract.attacks.base import ExtractionAttack
from lightning_extract.callbacks.metrics_file import rounded
from lightning_extract.callbacks.run_record import RunRecord, decisive
from lightning_extract.dashboards.wandb_run import WandbRun, load_wandb

# Rows and columns of the table at the end.
POINTS = ("final", "best_heldout", "best_test")
COLUMNS = ("queries", "agreement", "accuracy", "iteration")
LONGEST_TAG, MOST_BARS = 64, 512  # characters, and bars of a histogram: W&B refuses more


class WandbDashboard(Logger, Callback):
    """Shows a run on Weights & Biases; no failure of W&B stops the run.

    A run that is continued has the id of its first part. A row has an evaluation's metrics with queries, learning
    rates, queries per second, the best agreement on held-out answers so far and the victim's labels so far; at the end
    come the summary, the pictures of the run folder and a table. Trainings of victims have epochs instead of queries.

    Args:
        project: The project on W&B, for all experiments that one dashboard compares.
        entity: The user or team; the one of the login when null.
        offline: Keep the run in its folder, to be uploaded by slurm/sync_wandb.sh.
        tags: Tags beside those of attack, data set, access and seed.
    """

    def __init__(
        self,
        project: str = "lightning_extract",
        entity: str | None = None,
        offline: bool = False,
        tags: Sequence[str] = (),
    ) -> None:
        super().__init__()
        load_wandb()  # complains here, before anything is bought
        self.project, self.entity, self.offline, self.tags = project, entity, offline, tuple(tags)
        self._run: WandbRun | None = None
        self._row: dict[str, Any] = {}
        self._folder = Path()

    @property
    def name(self) -> str:
        """The project."""
        return self.project

    @property
    def version(self) -> str:
        """Nothing: the files lie in the run folder itself."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: W&B gets the run's whole config."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds to the row that the next evaluation ends."""
        self._row.update({name: rounded(name, value) for name, value in metrics.items()})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the run, when all is checked and nothing bought."""
        records = (callback for callback in trainer.callbacks if isinstance(callback, RunRecord))  # type: ignore[attr-defined]
        record = next(records, None)
        attack = isinstance(pl_module, ExtractionAttack)
        done = isinstance(pl_module, ExtractionAttack) and pl_module.finished  # and shown by its last part
        if record is None or done or not trainer.is_global_zero:  # a trial of Lightning's fast_dev_run is no run
            return
        config = record.resolved()
        card = {"victim_card": asdict(pl_module.victim_card)} if isinstance(pl_module, ExtractionAttack) else {}
        self._folder = Path(trainer.default_root_dir)
        self._run = WandbRun(
            self._folder,
            self.offline,
            project=self.project,
            entity=self.entity,
            id=run_id(config),
            name=f"{config['experiment']} seed {config['seed_everything']}",
            group=config["experiment"],
            job_type="attack" if attack else "victim",
            tags=list(dict.fromkeys([*_tags(config), *self.tags])),
            config=config | card,
        )
        self._run.define_axis("queries" if attack else "epoch")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Shows what the generator makes at the end of a stage, at the queries spent by then."""
        if self._run is not None and isinstance(pl_module, ExtractionAttack) and pl_module.stage_ended:
            stage = pl_module.stage_ended
            picture = self._run.image(self._folder / "samples" / f"{stage}.png", stage)
            if picture is not None:
                row = {"queries": pl_module.ledger.spent, "samples": picture}
                self._run.log(row, step=pl_module.iterations_done, last=False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sends the row of an attack's evaluation, which the run folder's summary knows already."""
        if self._run is None or trainer.sanity_checking or not isinstance(pl_module, ExtractionAttack):
            return
        summary = self._summary()
        best = summary["best_heldout"] or {}
        self._row |= {f"{name}_best_heldout": best[name] for name in ("agreement", "accuracy") if name in best}
        self._row |= learning_rates(trainer, pl_module)
        self._row["queries_per_second"] = summary["queries_per_second"]
        if sum(summary["label_counts"]) and len(summary["label_counts"]) <= MOST_BARS:
            self._row["victim_labels"] = self._run.histogram(summary["label_counts"])
        self._send(step=pl_module.iterations_done)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sends the row of a victim's epoch, whose loss Lightning logs last of all."""
        if not isinstance(pl_module, ExtractionAttack):
            if self._row:
                self._send(step=int(self._row["epoch"]))
            self._row |= learning_rates(trainer, pl_module)

    def _send(self, step: int) -> None:
        if self._run is not None:
            self._run.log(self._row, step)
        self._row = {}

    def _summary(self) -> dict[str, Any]:
        file = self._folder / "summary.json"
        return json.loads(file.read_text()) if file.is_file() else {}

    def show_results(self) -> None:
        """Sends what a run leaves in its folder at its end: summary, pictures and a table of the best points."""
        if self._run is None:
            return
        if self._row:
            self._send(step=int(self._row["epoch"]))
        summary = self._summary()
        if not summary:
            return
        rows = [[point, *(summary[point].get(name) for name in COLUMNS)] for point in POINTS if summary[point]]
        files = {"samples": "samples/end.png", "curves": "curves.png", "labels": "labels.png"}
        pictures = {name: self._run.image(self._folder / file) for name, file in files.items()}
        shown = {name: picture for name, picture in pictures.items() if picture is not None}
        row = {"queries": summary["final"]["queries"], "results": self._run.table(["point", *COLUMNS], rows), **shown}
        self._run.log(row, step=summary["final"]["iteration"] + 1)
        self._run.summarise({name: value for name, value in summary.items() if name != "label_counts"})

    def close(self, failed: bool) -> None:
        """Ends the run on W&B."""
        if self._run is not None:
            self._run.finish(failed)


@contextmanager
def shown_on_dashboards(loggers: Sequence[Logger]) -> Iterator[None]:
    """Ends dashboards after all that a run writes, and with the mark of a failure where it fails."""
    dashboards = [logger for logger in loggers if isinstance(logger, WandbDashboard)]
    failed = True
    try:
        yield
        for dashboard in dashboards:
            dashboard.show_results()
        failed = False
    finally:
        for dashboard in dashboards:
            dashboard.close(failed)


def run_id(config: dict[str, Any]) -> str:
    """The same for all parts of a run and for no other: a hash of experiment, seed and all that decides numbers."""
    identity = [config["experiment"], decisive(config, "fit")]
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:16]


def learning_rates(trainer: Trainer, module: LightningModule) -> dict[str, float]:
    """Rates by the network that an optimizer trains; a network's optimizers of later stages have a number behind it."""
    owners = {id(parameter): name.split(".")[0] for name, parameter in module.named_parameters()}
    rates: dict[str, float] = {}
    for optimizer in trainer.optimizers:
        group = optimizer.param_groups[0]
        name = base = f"learning_rate_{owners.get(id(group['params'][0]), 'other')}"
        number = 1
        while name in rates:
            number += 1
            name = f"{base}_{number}"
        rates[name] = float(group["lr"])
    return rates


def _tags(config: dict[str, Any]) -> list[str]:
    model, data = config["model"], config["data"]
    named = [
        model["class_path"].rsplit(".", 1)[-1],
        data["init_args"].get("dataset"),
        model["init_args"].get("threat_model", {}).get("access"),
        f"seed {config['seed_everything']}",
    ]
    return [str(tag)[:LONGEST_TAG] for tag in named if tag]
