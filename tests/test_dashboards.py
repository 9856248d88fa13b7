"""Loggers of Lightning that a config may name: every row has its queries, and the run folder is as without them."""

import time
from pathlib import Path

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_extract.cli import main
from tests.miniature import CONF
from tests.wandb_files import rows

FIT = ["fit", "--config", str(CONF / "disguide.yaml"), "--run_dir", "run"]
QUERIES = [256, 512, 768, 960]
pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_plain_logger_of_weights_and_biases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()  # another test's, which has read its environment
    main([*FIT, "--trainer.logger", "WandbLogger", "--trainer.logger.save_dir", "."])
    wandb.finish()
    (file,) = Path("wandb").glob("offline-run-*/*.wandb")
    deadline = time.monotonic() + 30
    while len(logged := rows(file)) < len(QUERIES) and time.monotonic() < deadline:
        time.sleep(0.1)  # W&B's own process writes the file
    assert [row["queries"] for row in logged] == QUERIES
    assert all(0 <= row["agreement"] <= 1 for row in logged)
    assert Path("run/metrics.csv").exists()


def test_tensorboard() -> None:
    main([*FIT, "--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", "board"])
    (file,) = Path("board").rglob("events.out.*")
    events = EventAccumulator(str(file))
    events.Reload()
    assert [event.value for event in events.Scalars("queries")] == QUERIES
    assert len(events.Scalars("accuracy")) == len(QUERIES)
    assert Path("run/metrics.csv").exists()
