"""What an offline run of Weights & Biases leaves on the disk."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, FULL, LAST = 32768, 1, 4
SECONDS = 30


def parts(run_dir: Path) -> list[Path]:
    """The files of a run folder's parts, in order of their start."""
    return sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))


def ended_part(run_dir: Path) -> Path:
    """The only part of a run that has ended."""
    (file,) = parts(run_dir)
    wait_for_end(file)
    return file


def wait_for_end(file: Path) -> None:
    """W&B's own process writes the file, and its end a little after the run's."""
    deadline = time.monotonic() + SECONDS
    while not any(entry.WhichOneof("record_type") == "exit" for entry in records(file)):
        assert time.monotonic() < deadline, f"{file} has no end"
        time.sleep(0.02)


def records(file: Path) -> Iterator[Record]:
    """All records of a file: protocol buffers in LevelDB's log format."""
    record, content, position = b"", file.read_bytes(), 7
    while position + 7 <= len(content):
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if (left := -position % BLOCK) < 7:  # no room for a header
            position += left
        if kind in (FULL, LAST):
            entry, record = Record.FromString(record), b""
            yield entry


def rows(file: Path) -> list[dict[str, Any]]:
    """The history: what was logged, row by row."""
    histories = (entry.history for entry in records(file) if entry.WhichOneof("record_type") == "history")
    return [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in history.item}
        for history in histories
    ]


def axes(file: Path) -> dict[str, str]:
    """The x-axis of metrics, by their names or patterns."""
    metrics = (entry.metric for entry in records(file) if entry.WhichOneof("record_type") == "metric")
    return {metric.name or metric.glob_name: metric.step_metric for metric in metrics}


def run_record(file: Path) -> Any:
    """The run as it was opened: id, name, group, tags."""
    return next(entry.run for entry in records(file) if entry.WhichOneof("record_type") == "run")


def config(file: Path) -> dict[str, Any]:
    """The config that the run was opened with."""
    return {item.key: json.loads(item.value_json) for item in run_record(file).config.update}


def summary(file: Path) -> dict[str, Any]:
    """The last value of each column of the table of runs that was set by name."""
    updates = (entry.summary.update for entry in records(file) if entry.WhichOneof("record_type") == "summary")
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for update in updates for item in update}
