"""How far a run is, read from its folder alone."""

import fcntl
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from lightning_extract.errors import InputError
from lightning_extract.reports.collect import read_summary
from lightning_extract.reports.sweep import Planned, budget_of

State = Literal["finished", "running", "stopped", "failed", "collapsed", "not started"]
# What a run that goes on writes.
TRACES = ("metrics.csv", "summary.json", "config.yaml", "checkpoints/last.ckpt", "run.lock")
# A run whose lock another host holds counts as dead after so many of its usual times between two evaluations, but not
# before so many seconds: ours.
PATIENCE, AT_LEAST = 3.0, 600.0


@dataclass(frozen=True)
class RunState:
    """How far a run is.

    Args:
        folder: The run folder.
        experiment: Name of the experiment.
        seed: Seed of the run.
        state: *finished*: ran to its end. *collapsed*: so did it, or it was ended, but it had learnt nothing.
            *running*: a process of this host holds the folder's lock; or one of another host has made the lock, and
            the folder has changed within ten minutes or three of its usual times between two evaluations.
            *stopped*: neither, and there is a checkpoint to go on from. *failed*: there is none, or the folder is
            broken. *not started*: there is no folder.
        spent: Queries at the last evaluation; None before it.
        budget: The query budget; None where it cannot be read.
        agreement: At the last evaluation, a share.
        accuracy: At the last evaluation, a share.
        age: Seconds since the last evaluation.
    """

    folder: Path
    experiment: str
    seed: int | None
    state: State
    spent: int | None = None
    budget: int | None = None
    agreement: float | None = None
    accuracy: float | None = None
    age: float | None = None

    @property
    def share(self) -> float | None:
        """The part of the budget that is spent."""
        return None if self.spent is None or not self.budget else self.spent / self.budget


def planned_state(planned: Planned) -> RunState:
    """The state of a line of a sweep without a run folder."""
    return RunState(planned.folder, planned.experiment, planned.seed, "not started", budget=planned.budget)


def read_state(folder: Path) -> RunState | None:
    """Reads the state of a run folder; None where it is no attack's but a victim's.

    A broken folder is a failed run, since a table of hundreds must not end with one of them.
    """
    try:
        if not (folder / "summary.json").is_file():
            return _before_evaluation(folder)
        summary = read_summary(folder)
        final, queries = summary["final"], summary["queries"]
        return RunState(
            folder,
            str(summary["experiment"]),
            int(summary["seed"]),
            _state(folder, summary),
            int(queries["spent"]),
            int(queries["budget"]),
            float(final["agreement"]),
            float(final["accuracy"]),
            _age(folder, "metrics.csv"),
        )
    except (InputError, KeyError, TypeError, ValueError):
        return RunState(folder, folder.parent.name, None, "failed")


def _state(folder: Path, summary: dict[str, Any]) -> State:
    if summary["status"] == "collapsed" or (summary["status"] == "finished" and summary["collapse"]):
        return "collapsed"
    if summary["status"] == "finished":
        return "finished"
    evaluations = (folder / "metrics.csv").read_bytes().count(b"\n") - 1 if (folder / "metrics.csv").is_file() else 0
    return _unfinished(folder, float(summary["wall_time_seconds"]) / max(evaluations, 1))


def _unfinished(folder: Path, interval: float) -> State:
    """The state of a run that is not at its end and takes so many seconds between two evaluations."""
    traces = [age for name in TRACES if (age := _age(folder, name)) is not None]
    alive = bool(traces) and min(traces) < max(AT_LEAST, PATIENCE * interval)
    if _locked_here(folder / "run.lock", otherwise=alive):
        return "running"
    return "stopped" if any((folder / "checkpoints").glob("*.ckpt")) else "failed"


def _locked_here(lock: Path, otherwise: bool) -> bool:
    """Whether a process holds a run folder's lock; what is given where only another host can know."""
    try:
        with lock.open() as file:
            if not file.read().strip().endswith(f"on host {socket.gethostname()}"):
                return otherwise
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:  # its holder has removed it
        return False
    except BlockingIOError:
        return True
    except OSError:  # a disk without locks
        return otherwise
    return False


def _before_evaluation(folder: Path) -> RunState | None:
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        settings = config["model"]["init_args"]
        seed = int(config["seed_everything"])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return RunState(folder, folder.parent.name, None, "failed")
    if "threat_model" not in settings:
        return None
    experiment = str(config.get("experiment") or folder.parent.name)
    return RunState(folder, experiment, seed, _unfinished(folder, 0.0), budget=budget_of(config))


def _age(folder: Path, name: str) -> float | None:
    try:
        return max(0.0, time.time() - (folder / name).stat().st_mtime)
    except OSError:
        return None
