import builtins
import io
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.sdk.wandb_summary import Summary

from lightning_extract.dashboards.wandb_run import SETTINGS, WandbRun, load_wandb, no_questions
from lightning_extract.errors import InputError
from tests import wandb_files

IDENTITY: dict[str, Any] = {"project": "p", "id": "an_id"}


def breaking(error: Exception) -> Any:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    return fail


def use_all(run: WandbRun, folder: Path) -> None:
    """Calls everything that a dashboard calls."""
    (folder / "curves.png").write_bytes(PNG)
    run.define_axis("queries")
    run.log({"queries": 64, "labels": run.histogram([1, 2])}, step=1)
    run.log({"queries": 64, "curves": run.image(folder / "curves.png"), "best": run.table(["a"], [[1]])}, step=2)
    run.summarise({"status": "finished"})
    run.finish()
    run.finish()


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c6360000000020001"
    "48afa4710000000049454e44ae426082"
)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (wandb, "init"),
        (wandb.Histogram, "__init__"),
        (wandb.Image, "__init__"),
        (wandb.Table, "__init__"),
        (wandb.Run, "define_metric"),
        (wandb.Run, "log"),
        (wandb.Run, "finish"),
        (Summary, "update"),
    ],
)
def test_a_failure_gets_one_warning_and_no_more(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(owner, name, breaking(OSError(28, "No space left on device")))
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        use_all(WandbRun(tmp_path, offline=True, project="p", id=tmp_path.name), tmp_path)
    told = [str(warning.message) for warning in shown if "Weights & Biases" in str(warning.message)]
    assert told == ["Weights & Biases: [Errno 28] No space left on device; the run goes on without it"]


def test_a_folder_that_refuses_files_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "wandb").write_text("not a folder")
    with pytest.warns(UserWarning, match="File exists: .*; the run goes on without it"):
        run = WandbRun(tmp_path, offline=True, **IDENTITY)
    use_all(run, tmp_path)


def refused(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    wandb.teardown()  # it reads its environment once
    for name, value in {"base_url": "http://127.0.0.1:9", "init_timeout": 2.0, **settings}.items():
        monkeypatch.setitem(SETTINGS, name, value)


def test_without_a_network_the_run_is_kept_in_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refused(monkeypatch, api_key="a" * 40)
    with pytest.warns(UserWarning, match=r"the run is kept in .*, upload it with slurm/sync_wandb.sh"):
        run = WandbRun(tmp_path, offline=False, **IDENTITY)
    use_all(run, tmp_path)
    assert [row["_step"] for row in wandb_files.rows(wandb_files.ended_part(tmp_path))] == [1, 2]


class Terminal(io.StringIO):
    """A terminal at which nobody sits."""

    def isatty(self) -> bool:
        return True

    def readline(self, *_: Any) -> str:
        raise AssertionError("somebody was asked")

    read = readline


def test_nobody_is_asked_to_log_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # without a .netrc
    monkeypatch.setattr(sys, "stdin", terminal := Terminal())
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(builtins, "input", breaking(AssertionError("somebody was asked")))
    refused(monkeypatch)
    with pytest.warns(UserWarning, match="No API key configured.*the run is kept in"):
        run = WandbRun(tmp_path, offline=False, **IDENTITY)
    assert sys.stdin is terminal
    use_all(run, tmp_path)
    assert len(wandb_files.parts(tmp_path)) == 1


def test_no_questions_gives_the_terminal_back_after_an_error() -> None:
    before = sys.stdin
    with suppress(ArithmeticError), no_questions():
        assert not sys.stdin.isatty()
        raise ArithmeticError
    assert sys.stdin is before


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install -e '.\[dashboards\]'"):
        load_wandb()


def test_rows_are_on_the_disk_before_a_kill_can_take_them(tmp_path: Path) -> None:
    """The setting has a private name: a release that ignored it would lose 15 seconds of rows."""
    run = WandbRun(tmp_path, offline=True, **IDENTITY)
    run.log({"queries": 64}, step=1)
    (file,) = wandb_files.parts(tmp_path)
    deadline = time.monotonic() + 5
    while not (rows := wandb_files.rows(file)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [row["queries"] for row in rows] == [64]
    run.finish()
