"""One process at a time works in a run folder."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from lightning_extract.callbacks.run_lock import run_lock
from lightning_extract.cli import main
from lightning_extract.errors import InputError
from tests.command_line import complaint
from tests.miniature import CONF

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning's use of jsonargparse

FIT = ("fit", "--config", str(CONF / "disguide.yaml"), "--run_dir", "run")
HOLD = """
import sys
from pathlib import Path
from lightning_extract.callbacks.run_lock import run_lock
with run_lock(Path("run")):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder() -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of the folder ``run``."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.communicate()


def test_a_folder_in_use_is_refused_with_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    with holder() as process:
        message = complaint(capsys, *FIT)
        assert message == (
            f"run folder run is in use by process {process.pid} on host {socket.gethostname()}; "
            "wait, stop it, or choose another --run_dir"
        )
        assert [path.name for path in Path("run").iterdir()] == ["run.lock"]
        assert "last.ckpt does not exist" in complaint(capsys, "test", *FIT[1:]), "evaluation is not hindered"
    assert list(Path("run").iterdir()) == []


def test_the_lock_of_a_killed_process_hinders_nobody() -> None:
    with holder() as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert Path("run/run.lock").read_text() == f"process {process.pid} on host {socket.gethostname()}\n"
        with run_lock(Path("run")):
            assert Path("run/run.lock").read_text().startswith(f"process {os.getpid()} ")
    assert list(Path("run").iterdir()) == []


def test_a_run_holds_it_for_its_whole_life() -> None:
    seen: list[str] = []

    def look(*_: object) -> None:
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} "), run_lock(Path("run")):
            pass
        seen.append("held")

    with patch("lightning_extract.callbacks.query_budget.QueryBudget.on_train_start", look):
        main([*FIT, "--trainer.max_epochs", "1"])
    assert seen == ["held"]
    assert not Path("run/run.lock").exists()


def test_a_start_that_is_refused_leaves_none(capsys: pytest.CaptureFixture[str]) -> None:
    complaint(capsys, *FIT, "--model.threat_model.query_budget", "63")
    assert list(Path("run").iterdir()) == []


def test_a_file_that_its_holder_has_just_removed_is_no_lock() -> None:
    folder, removed = Path("run"), list[Path]()
    samestat = os.path.samestat

    def remove_once(mine: os.stat_result, named: os.stat_result) -> bool:
        if not removed:
            removed.append((folder / "run.lock").rename("elsewhere"))
            (folder / "run.lock").touch()
            named = (folder / "run.lock").stat()
        return samestat(mine, named)

    with patch("os.path.samestat", remove_once), run_lock(folder):
        assert removed
        assert (folder / "run.lock").read_text().startswith("process ")


def test_a_disk_without_locks_is_a_warning() -> None:
    refusal = OSError(95, "Operation not supported")
    with (
        patch("fcntl.flock", side_effect=refusal),
        pytest.warns(UserWarning, match="run lies on a disk without locks"),
        run_lock(Path("run")),
    ):
        pass


def test_a_folder_that_cannot_be_written() -> None:
    with patch("os.open", side_effect=OSError(30, "Read-only file system")):
        message = r"run folder run cannot be written \(Read-only file system\); choose another"
        with pytest.raises(InputError, match=message), run_lock(Path("run")):
            pass
