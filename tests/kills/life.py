"""One life of a run: a process that writes down what it does and asks, until it ends or is killed.

It is forked from a server that has imported everything, and so begins within a second.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from multiprocessing import forkserver, get_context, set_start_method
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from lightning_extract.commands import run_command
from lightning_extract.oracle import VictimOracle
from lightning_extract.oracle.queries import Samples

RUN = Path("run")
EVENTS, ASKED, PRINTED = Path("events"), Path("asked"), Path("printed")
FILE_EVENTS = {"open": "open", "os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir"}


def start_server() -> Any:
    """Where lives are forked from: ``Process`` of what it returns starts one."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tests.kills.life"])
    # It looks for these modules by itself, and says nothing when it finds none.
    with patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2])):
        forkserver.ensure_running()
    return context


def live(folder: Path, arguments: Sequence[str], seed: int, event: int | list[str] | None, blow: int) -> None:
    """Runs a command in a folder, where a run ``run`` lies beside the notes of this life.

    Args:
        folder: Where the process works.
        arguments: The command line.
        seed: Of the global random state at the start, which differs from life to life.
        event: The process gets the signal at this one of its events, numbered from 1, or at the first not listed.
        blow: The signal. A write that SIGKILL hits is done by half, and a file is opened, and so emptied.
    """
    os.chdir(folder)
    sys.argv = ["lightning-extract"]
    output = os.open(PRINTED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    set_start_method("fork", force=True)  # others leave semaphores behind when a process is killed
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    Diary(event, blow).open()
    run_command(list(arguments), arguments)


class Diary:
    """Notes every file operation in the run folder and every question to the victim, each before it happens.

    Args:
        event: The process gets a signal at this one of them.
        blow: The signal.
    """

    def __init__(self, event: int | list[str] | None, blow: int) -> None:
        self.event, self.blow = event, blow
        self.count, self.asking, self.busy = 0, False, False
        self.watched: nn.Module | None = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.events, self.asked = os.open(EVENTS, flags, 0o644), os.open(ASKED, flags, 0o644)
        self.write, self.fsync, self.ask = os.write, os.fsync, VictimOracle._ask
        self.reference = VictimOracle.reference

    def open(self) -> None:
        """Begins to note."""
        diary = self

        def write(file: int, content: bytes) -> int:
            path = path_of(file)
            if diary.inside(path):
                diary.note(f"write {path.name}", lambda: diary.write(file, content[: len(content) // 2]))
            return diary.write(file, content)

        def fsync(file: int) -> None:
            name = path_of(file).name
            diary.note(f"fsync {name}")
            diary.fsync(file)
            diary.note(f"fsynced {name}")

        def ask(oracle: VictimOracle, samples: Samples, phase: str, at_once: bool) -> tuple[Tensor, Tensor]:
            if oracle._free:
                return diary.ask(oracle, samples, phase, at_once)
            if diary.watched is not oracle._network:
                diary.watched = oracle._network
                oracle._network.register_forward_hook(diary.note_answered)
            diary.note(f"ask {phase}")
            diary.asking = True
            answers = diary.ask(oracle, samples, phase, at_once)
            diary.asking = False
            diary.note(f"asked {phase}")
            return answers

        def reference(oracle: VictimOracle, samples: Samples) -> Tensor:
            diary.note("evaluate")
            return diary.reference(oracle, samples)

        os.write, os.fsync = write, fsync  # type: ignore[assignment]
        VictimOracle._ask = ask  # type: ignore[method-assign, assignment]
        VictimOracle.reference = reference  # type: ignore[method-assign, assignment]
        sys.addaudithook(self.note_file)

    def note_file(self, kind: str, details: tuple[Any, ...]) -> None:
        """Notes what Python tells of a file operation in the run folder."""
        if self.busy or kind not in FILE_EVENTS or not isinstance(details[0], str | bytes | os.PathLike):
            return
        writes = kind != "open" or bool((details[2] or 0) & (os.O_WRONLY | os.O_RDWR))
        path = Path(os.fsdecode(details[0]))
        if writes and self.inside(path.absolute()):
            opened = (lambda: os.open(path, details[2], 0o644)) if kind == "open" else (lambda: None)
            self.note(f"{FILE_EVENTS[kind]} {path.name}", opened)

    def note_answered(self, network: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> None:
        """Notes what the victim was asked, when it has computed the answer and nobody has seen it."""
        if self.asking:
            rows = [blake2b(row.numpy().tobytes(), digest_size=12).hexdigest() for row in inputs[0].cpu()]
            self.write(self.asked, f"{os.getpid()} {' '.join(rows)}\n".encode())

    def note(self, what: str, half: Any = lambda: None) -> None:
        """Notes an event; the process gets its signal when it is time, by SIGKILL within a write or an opening."""
        self.busy = True
        self.count += 1
        self.write(self.events, f"{what}\n".encode())
        if what not in self.event if isinstance(self.event, list) else self.count == self.event:
            if self.blow == signal.SIGKILL:
                half()
            os.kill(os.getpid(), self.blow)
        self.busy = False

    def inside(self, path: Path) -> bool:
        """Whether a file lies in the run folder."""
        return path.is_relative_to(RUN.absolute())


def path_of(file: int) -> Path:
    """The path of an open file."""
    return Path(os.readlink(f"/proc/self/fd/{file}"))


def batches_asked(pid: int, folder: Path) -> Iterator[list[str]]:
    """What a life asked, batch by batch, as digests of what the victim's network read."""
    for line in (folder / ASKED).read_text().splitlines() if (folder / ASKED).exists() else ():
        number, *digests = line.split()
        if int(number) == pid:
            yield digests
