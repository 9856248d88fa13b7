"""Counts of queries above 16,777,216, where float32 skips every second whole number."""

import csv
import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, TensorDataset

from lightning_extract.attacks.settings import CloneTraining, ReplaySettings
from lightning_extract.callbacks.collapse import CollapseWatchdog
from lightning_extract.callbacks.metrics_file import MetricsFile
from lightning_extract.callbacks.query_budget import QueryBudget
from lightning_extract.callbacks.run_summary import RunSummary
from lightning_extract.data.draws import Iteration
from tests.stand_ins import noise_attack

EXACT = 16_777_217
IN_FLOAT32 = 16_777_216


@pytest.mark.filterwarnings("ignore")
def test_queries_stay_exact_from_the_account_to_the_files() -> None:
    assert int(torch.tensor(EXACT, dtype=torch.float32)) == IN_FLOAT32
    attack = noise_attack(
        EXACT, batch_size=5, replay=ReplaySettings(batches=0), clone_training=CloneTraining(network="lenet5_half")
    )
    attack.ledger.charge(EXACT - 5, "clone")
    table = MetricsFile(Path("run"), key="iteration")
    summary = RunSummary("large", 0, table, CollapseWatchdog())
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir="run",
        max_epochs=-1,
        num_sanity_val_steps=0,
        logger=table,
        callbacks=[QueryBudget(), summary],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    images = DataLoader(TensorDataset(torch.zeros(4, 1, 32, 32), torch.zeros(4, dtype=torch.int64)), batch_size=4)
    trainer.fit(attack, DataLoader([Iteration(0, 1)], batch_size=None), images)

    assert attack.ledger.spent == EXACT
    logged = trainer.callback_metrics["queries"]
    assert logged.dtype == torch.float64
    assert int(logged) == EXACT
    with Path("run/metrics.csv").open(newline="") as file:
        assert [row["queries"] for row in csv.DictReader(file)] == [str(EXACT)]
    assert json.loads(Path("run/summary.json").read_text())["final"]["queries"] == EXACT
