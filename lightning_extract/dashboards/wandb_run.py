"""A run's record on Weights & Biases, of which no failure reaches the run."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_extract.errors import InputError

# In seconds. A job that Slurm takes back has two minutes to end; what is not sent by then lies on the disk.
INIT_TIMEOUT, FINISH_TIMEOUT = 30.0, 60.0
SETTINGS: dict[str, Any] = {
    "init_timeout": INIT_TIMEOUT,
    "finish_timeout": FINISH_TIMEOUT,
    # W&B keeps 15 seconds of rows in memory, and a killed process's are lost, though its checkpoint knows them.
    "x_transaction_log_flush_interval": 0.05,
    "console": "off",  # it would read all that is printed, the progress bar too
    "silent": True,
    "save_code": False,
    "disable_code": True,
    "disable_git": True,  # the summary names the commit
}


def load_wandb() -> Any:
    """The library, which sends no reports of its own errors unless ``WANDB_ERROR_REPORTING`` says so.

    Raises:
        InputError: It is not installed.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb
    except ImportError as error:
        raise InputError(f"Weights & Biases cannot be loaded ({error}); pip install -e '.[dashboards]'") from error
    return wandb


@contextmanager
def no_questions() -> Iterator[None]:
    """W&B asks for a key wherever it sees a terminal, and waits; without one it raises an error."""
    terminal = sys.stdin
    with open(os.devnull) as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = terminal


class WandbRun:
    """Opens a run, or the next part of one that was interrupted.

    What cannot be sent from the start is kept in the folder. The first failure after that gets one line, and then
    everything is left out: all methods return as if they had done their work.

    Args:
        folder: The run folder, in whose ``wandb/`` the files lie.
        offline: Send nothing; ``slurm/sync_wandb.sh`` does it later.
        identity: What ``wandb.init`` is told of the run: project, id, name, group, tags, config, ...
    """

    def __init__(self, folder: Path, offline: bool, **identity: Any) -> None:
        self._run: Any = None
        with self._harmless():
            self._wandb = load_wandb()
            (folder / "wandb").mkdir(parents=True, exist_ok=True)  # else W&B takes the system's folder for scratch
            how = {"dir": str(folder.resolve()), "resume": "allow", "reinit": "create_new", "settings": dict(SETTINGS)}
            self._run = self._start(offline, identity | how)

    def log(self, row: dict[str, Any], step: int, last: bool = True) -> None:
        """Adds to the row of a step; the last addition ends it."""
        if self._run is not None:
            with self._harmless():
                self._run.log(row, step=step, commit=last)

    def define_axis(self, metric: str) -> None:
        """Draws every metric against this one."""
        if self._run is not None:
            with self._harmless():
                self._run.define_metric(metric)
                self._run.define_metric("*", step_metric=metric, step_sync=True)

    def summarise(self, numbers: dict[str, Any]) -> None:
        """Sets columns of the table of runs."""
        if self._run is not None:
            with self._harmless():
                self._run.summary.update(numbers)

    def image(self, file: Path, caption: str | None = None) -> Any:
        """A picture for a row; None where there is no such file."""
        return self._made("Image", str(file), caption=caption) if file.is_file() else None

    def table(self, columns: list[str], rows: list[list[Any]]) -> Any:
        """A table for a row."""
        return self._made("Table", columns=columns, data=rows)

    def histogram(self, counts: list[int]) -> Any:
        """One bar for each count, at 0, 1, ...; for a row."""
        return self._made("Histogram", np_histogram=(counts, [place - 0.5 for place in range(len(counts) + 1)]))

    def finish(self, failed: bool = False) -> None:
        """Ends the run, and waits a minute for what is not yet sent; again, it does nothing."""
        run, self._run = self._run, None
        if run is not None:
            with self._harmless():
                run.finish(exit_code=int(failed))

    def _made(self, kind: str, *args: Any, **kwargs: Any) -> Any:
        if self._run is not None:
            with self._harmless():
                return getattr(self._wandb, kind)(*args, **kwargs)
        return None

    def _start(self, offline: bool, start: dict[str, Any]) -> Any:
        if not offline:
            try:
                with no_questions():
                    return self._wandb.init(**start)  # WANDB_MODE may still keep it off the network
            except Exception as error:
                rank_zero_warn(
                    f"Weights & Biases: {_first_line(error)}; the run is kept in {start['dir']}/wandb, "
                    f"upload it with slurm/sync_wandb.sh {start['dir']}"
                )
                with no_questions():
                    self._wandb.teardown()  # else the run that did not start keeps the id to itself
        return self._wandb.init(mode="offline", **start)

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # it raises whatever its server, its disk and its own process make it raise
            self._run = None
            rank_zero_warn(f"Weights & Biases: {_first_line(error)}; the run goes on without it")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
