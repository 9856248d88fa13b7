"""Live views that a config may name: every row carries its queries, and the run folder is as without them."""

import json
import time
from pathlib import Path

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record

from lightning_extract.cli import main
from tests.miniature import CONF

FIT = ["fit", "--config", str(CONF / "disguide.yaml"), "--run_dir", "run"]
BLOCK, FULL, LAST = 32768, 1, 4
QUERIES = [256, 512, 768, 960]
pytestmark = pytest.mark.filterwarnings("ignore")


def wandb_rows(file: Path) -> list[dict[str, float]]:
    """The history in the file that an offline run leaves: protocol buffers in LevelDB's log format."""
    rows, record, content, position = [], b"", file.read_bytes(), 7
    while position + 7 <= len(content):
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if (left := -position % BLOCK) < 7:  # no room for a header
            position += left
        if kind in (FULL, LAST):
            entry, record = Record.FromString(record), b""
            if entry.WhichOneof("record_type") == "history":
                items = ((item.key or ".".join(item.nested_key), item.value_json) for item in entry.history.item)
                rows.append({name: json.loads(value) for name, value in items})
    return rows


def test_weights_and_biases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    main([*FIT, "--trainer.logger", "WandbLogger", "--trainer.logger.save_dir", "."])
    wandb.finish()
    (file,) = Path("wandb").glob("offline-run-*/*.wandb")
    deadline = time.monotonic() + 30
    while len(rows := wandb_rows(file)) < len(QUERIES) and time.monotonic() < deadline:
        time.sleep(0.1)  # W&B's own process writes the file
    assert [row["queries"] for row in rows] == QUERIES
    assert all(0 <= row["agreement"] <= 1 for row in rows)
    assert Path("run/metrics.csv").exists()


def test_tensorboard() -> None:
    main([*FIT, "--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", "board"])
    (file,) = Path("board").rglob("events.out.*")
    events = EventAccumulator(str(file))
    events.Reload()
    assert [event.value for event in events.Scalars("queries")] == QUERIES
    assert len(events.Scalars("accuracy")) == len(QUERIES)
    assert Path("run/metrics.csv").exists()
