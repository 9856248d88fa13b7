"""Worlds of processes as srun starts them, each a fork of one parent that has imported everything once."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["lightning_extract.commands"])
PATIENCE = 300.0  # seconds


@dataclass
class Ended:
    """How a process ended: its exit code, negative for a signal, what it printed, and seconds since the start."""

    code: int
    stdout: str
    stderr: str
    seconds: float


class World:
    """The processes of one distributed run.

    Args:
        size: Number of processes; 1 is a process by itself.
        function: What each runs, with its rank before the arguments; a module's function.
        arguments: For all of them.
    """

    def __init__(self, size: int, function: Callable[..., None], *arguments: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self.processes = [
            CONTEXT.Process(target=_run, args=(rank, size, port, function, arguments)) for rank in range(size)
        ]
        self._started = time.monotonic()
        for process in self.processes:
            process.start()

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Sends a signal to a process."""
        os.kill(self.processes[rank].pid, number)

    def wait(self, seconds: float = PATIENCE) -> list[Ended]:
        """Waits until all have ended; what is left after the time is killed and fails the test."""
        deadline = time.monotonic() + seconds
        ended: list[float | None] = [None] * len(self.processes)
        while None in ended and time.monotonic() < deadline:
            for rank, process in enumerate(self.processes):
                if ended[rank] is None and not process.is_alive():
                    ended[rank] = time.monotonic() - self._started
            time.sleep(0.05)
        left = [rank for rank, process in enumerate(self.processes) if process.is_alive()]
        for rank in left:
            self.processes[rank].kill()
            self.processes[rank].join()
        texts = [[Path(f"rank{rank}.{name}").read_text() for name in ("out", "err")] for rank in range(len(ended))]
        assert not left, f"processes {left} have not ended after {seconds:g} s: {texts}"
        return [
            Ended(process.exitcode or 0, *text, seconds=at or 0.0)
            for process, text, at in zip(self.processes, texts, ended, strict=True)
        ]


def _run(rank: int, size: int, port: int, function: Callable[..., None], arguments: Sequence[Any]) -> None:
    for stream, name in ((1, "out"), (2, "err")):
        file = os.open(f"rank{rank}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream)
    sys.stdin.close()
    if size > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
        os.environ |= {"NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    sys.argv = ["lightning-extract"]
    import torch

    torch.set_num_threads(1)
    function(rank, *arguments)
