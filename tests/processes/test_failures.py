"""A process that fails takes the others with it, soon and with a word; the same command then goes on."""

import os
import signal
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from lightning_extract import processes
from lightning_extract.attacks import DFME, ActiveThief, ExtractionAttack
from lightning_extract.callbacks.run_lock import run_lock
from lightning_extract.cli import main
from lightning_extract.errors import InputError
from lightning_extract.processes import ProcessLink
from tests.miniature import config_of
from tests.processes.faults import fit_with_fault
from tests.processes.world import Ended, World
from tests.state import assert_same_state, final_state

START_AGAIN = "the same command starts again, there is no checkpoint yet"
GO_ON = "the same command continues from the last checkpoint"


def command(attack: type[ExtractionAttack], processes: int, run_dir: str, *more: str) -> list[str]:
    fixed = ["--trainer.devices", str(processes), "--trainer.enable_progress_bar", "false"]
    return ["fit", "--config", str(config_of(attack)), "--run_dir", run_dir, *fixed, *more]


def run(rank: int, arguments: list[str]) -> None:
    main(arguments)


def complaints(ended: Ended) -> list[str]:
    start = "lightning-extract: error: "
    return [line.removeprefix(start) for line in ended.stderr.splitlines() if line.startswith(start)]


def only_traceback(ended: Ended) -> bool:
    end = "ZeroDivisionError: broken on purpose\n"
    return ended.stderr.count("Traceback") == 1 and ended.stderr.endswith(end)


@cache
def uninterrupted(attack: type[ExtractionAttack], processes: int) -> tuple[dict[str, Any], str]:
    """The final state and table of a run that nothing disturbs."""
    for ended in World(processes, run, command(attack, processes, "whole")).wait():
        assert ended.code == 0, ended.stderr[-2000:]
    return final_state(Path("whole")), Path("whole/metrics.csv").read_text()


def assert_goes_on(attack: type[ExtractionAttack], processes: int) -> None:
    """The folder is free, holds nothing half, and the same command gives what an uninterrupted run gives."""
    with run_lock(Path("killed")):
        assert not list(Path("killed").rglob("*.partial"))
    for ended in World(processes, run, command(attack, processes, "killed")).wait():
        assert ended.code == 0, ended.stderr[-2000:]
    state, table = uninterrupted(attack, processes)
    assert_same_state(final_state(Path("killed")), state)
    assert Path("killed/metrics.csv").read_text() == table


def fail(
    attack: type[ExtractionAttack], processes: int, place: str, rank: int, act: str, *more: str, seconds: float = 60
) -> list[Ended]:
    arguments = command(attack, processes, "killed", *more)
    return World(processes, fit_with_fault, arguments, place, rank, act).wait(seconds)


def assert_ended(ended: list[Ended], rank: int, act: str) -> None:
    """All have ended with another code than 0 and, but for the one that failed, without a traceback."""
    lost = f"process {rank} of {len(ended)} has ended; "
    said = [complaint for one in ended for complaint in complaints(one)]
    if act == "killed":
        assert [one.code for one in ended] == [-signal.SIGKILL if i == rank else 1 for i in range(len(ended))]
        assert len(said) == 1
        assert said[0] in (lost + START_AGAIN, lost + GO_ON)
        assert not any("Traceback" in one.stderr for one in ended)
    elif act == "raises":
        assert {one.code for one in ended} == {1}
        assert only_traceback(ended[rank])
        assert said == [] if rank == 0 else said[0] in (lost + START_AGAIN, lost + GO_ON)
        assert not any("Traceback" in one.stderr for i, one in enumerate(ended) if i != rank)
    else:
        assert {one.code for one in ended} == {143}
        assert said == []
        assert [one.stderr.count("stopped; the same command") for one in ended] == [1] + [0] * (len(ended) - 1)
    assert max(one.seconds for one in ended) - min(one.seconds for one in ended) < 10
    summary = Path("killed/summary.json")
    assert not summary.is_file() or '"status": "unfinished"' in summary.read_text()


@pytest.mark.parametrize(("rank", "act"), [(0, "killed"), (1, "raises")])
def test_the_others_end_and_the_run_goes_on(rank: int, act: str) -> None:
    assert_ended(fail(DFME, 2, "second checkpoint", rank, act), rank, act)
    assert_goes_on(DFME, 2)


@pytest.mark.slow
@pytest.mark.parametrize("act", ["raises", "killed", "terminated"])
@pytest.mark.parametrize(
    ("attack", "place"),
    [
        *((DFME, place) for place in ("backward", "evaluation", "checkpoint", "second checkpoint")),
        *((ActiveThief, place) for place in ("backward", "selection")),
    ],
)
@pytest.mark.parametrize(("processes", "rank"), [(2, 0), (2, 1), (4, 0), (4, 3)])
def test_each_failure(attack: type[ExtractionAttack], place: str, act: str, processes: int, rank: int) -> None:
    assert_ended(fail(attack, processes, place, rank, act), rank, act)
    assert_goes_on(attack, processes)


@pytest.mark.slow
@pytest.mark.parametrize("act", ["raises", "killed"])
def test_while_the_first_writes_a_checkpoint(act: str) -> None:
    assert_ended(fail(DFME, 2, "checkpoint write", 0, act), 0, act)
    assert_goes_on(DFME, 2)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_hangs_is_given_up(rank: int) -> None:
    ended = fail(DFME, 2, "backward", rank, "hangs", "--process_timeout", "20", seconds=120)
    assert [one.code for one in ended] == [1, 1]
    remedy = "raise --process_timeout if it was only slow"
    assert complaints(ended[1 - rank]) == [f"another process has not answered for 20 s; {START_AGAIN}; {remedy}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 2000ms for recv operation", "has not answered"),
        ("Application timeout caused pair closure", "has not answered"),  # beside an operation that timed out
        ("[/gloo/transport/tcp/pair.cc:544] Connection closed by peer [127.0.0.1]:4", "process 1 of 2 has ended"),
    ],
)
def test_what_gloo_says_is_not_shown(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    link = ProcessLink(Path("killed"), 2.0)
    mine, other = socket.socketpair()
    link._links, link._count = {1: mine}, 2
    if "ended" in message:
        link._lost = 1
        link._loss.set()
    with other, mine, pytest.raises(SystemExit) as end, link.together():
        raise RuntimeError(text)
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(InputError("wrong"), 2, "lightning-extract: error: wrong\n"), (SystemExit(143), 143, "")],
)
def test_a_process_speaks_once(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Its dashboards may take a minute to close, in which it learns that the other has ended.
    monkeypatch.setattr(processes, "SECONDS_TO_END", 0.0)
    monkeypatch.setattr(processes, "SECONDS_TO_CLOSE", 0.0)
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    link = ProcessLink(Path("killed"), 2.0)
    mine, other = socket.socketpair()
    link._links, link._count = {1: mine}, 2
    with other, mine:
        with pytest.raises(SystemExit), link.together():
            raise error
        link._lose(1)
    assert codes == [code]
    assert capsys.readouterr().err == message


@pytest.mark.slow
def test_a_process_whose_partner_never_starts_gives_up() -> None:
    alone = World(1, run_as_one_of_two, command(DFME, 2, "killed", "--process_timeout", "10")).wait()
    assert [one.code for one in alone] == [1]
    (message,) = complaints(alone[0])
    assert message.startswith("the processes of this run have not come together in 10 s; look whether all were started")


def run_as_one_of_two(rank: int, arguments: list[str]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    main(arguments)


def test_a_process_that_computes_is_ended_too() -> None:
    # It waits for nothing that could tell it, as a GPU's process waits for one that is gone.
    ended = World(2, fit_with_fault_and_sleep, command(DFME, 2, "killed")).wait(60)
    assert [one.code for one in ended] == [1, -signal.SIGKILL]
    assert complaints(ended[0]) == [f"process 1 of 2 has ended; {START_AGAIN}"]
    assert ended[0].seconds - ended[1].seconds < 6


def fit_with_fault_and_sleep(rank: int, arguments: list[str]) -> None:
    fit_with_fault(rank, arguments, "backward", rank, "killed" if rank else "hangs")


def start_by_lightning() -> tuple[subprocess.Popen[str], psutil.Process]:
    """A run whose second process Lightning starts, and that process."""
    endless = ["--model.threat_model.query_budget", "100000000"]
    arguments = [sys.executable, "-m", "lightning_extract", *command(DFME, 2, "killed", *endless)]
    first = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    others: list[psutil.Process] = []
    deadline = time.monotonic() + 120
    while not others and time.monotonic() < deadline:
        time.sleep(0.2)
        others = [p for p in psutil.Process(first.pid).children() if any("lightning_extract" in w for w in p.cmdline())]
    assert others
    return first, others[0]


@pytest.mark.parametrize("starting", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kills_first", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_processes_that_lightning_starts(starting: bool, kills_first: bool) -> None:
    first, second = start_by_lightning()
    deadline = time.monotonic() + 120
    while not starting and not Path("killed/checkpoints/last.ckpt").is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(first.pid if kills_first else second.pid, signal.SIGKILL)
    _, left = psutil.wait_procs([second], timeout=60)
    for process in left:
        process.kill()
    _, errors = first.communicate(timeout=60)
    assert not left, "a process outlives the first"
    assert first.returncode
    if starting and not kills_first:
        assert "Child process" in errors, "Lightning says why it kills the first process"
    else:
        assert f"process {0 if kills_first else 1} of 2 has ended; " in errors
    with run_lock(Path("killed")):
        pass
