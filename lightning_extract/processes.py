"""Processes of one run that end together: none waits for one that is gone."""

import os
import re
import secrets
import selectors
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_extract.complaints import ProcessEnded, how_to_go_on, naming_the_file, say, say_stopped

# What processes tell each other: that all is done, that this one fails and waits for the first, that it fails and says
# why, that it ends because of another, that all shall stop. A closed connection: it has ended without a word.
DONE, FAILS, SPEAKS, FOLLOWS, STOPS = b"D", b"F", b"S", b"E", b"T"
STOPPED = 128 + signal.SIGTERM
# A process that waits for a lost one learns it from gloo at once, from NCCL never: until then it may end by itself.
# Lightning looks after the processes that it has started every five seconds and kills all when one has ended: one that
# fails tells the first before it ends, and the first ends in less.
SECONDS_TO_END, SECONDS_TO_END_WITHOUT_THE_FIRST = 3.0, 1.0
SECONDS_TO_CONNECT = 30.0
# When the first has said why it ends, it still closes its dashboards, which takes a minute at most.
SECONDS_TO_CLOSE = 90.0
LAUNCHER = "LIGHTNING_EXTRACT_LAUNCHER"
STRATEGY = "ddp_find_unused_parameters_true"  # the networks of attacks take turns
_linked = threading.Event()  # from there on a process need not look after the one that has started it


def several_processes(trainer: Namespace, timeout: float) -> dict[str, DDPStrategy]:
    """The strategy of a run on several processes, as an argument of Lightning's trainer; none for one process.

    Args:
        trainer: The trainer's settings.
        timeout: Seconds after which a process that waits for another gives up.
    """
    every_device = str(trainer.devices) in ("auto", "-1")
    several = torch.cuda.device_count() > 1 if every_device else str(trainer.devices) != "1"
    if trainer.strategy not in ("auto", STRATEGY) or not (several or trainer.num_nodes > 1):
        return {}
    _end_with_launcher()
    return {"strategy": DDPStrategy(find_unused_parameters=True, timeout=timedelta(seconds=timeout))}


def _end_with_launcher() -> None:
    """Ends a process that Lightning has started soon after the one that started it."""
    if "LOCAL_RANK" not in os.environ:
        os.environ[LAUNCHER] = str(os.getpid())
    elif LAUNCHER in os.environ:
        threading.Thread(target=_wait_for_launcher, args=(int(os.environ[LAUNCHER]),), daemon=True).start()


def _wait_for_launcher(launcher: int) -> None:
    while not _linked.wait(1):
        if os.getppid() != launcher:
            time.sleep(SECONDS_TO_END)  # in which it ends by itself if it has the same complaint
            if os.environ["LOCAL_RANK"] == "1":
                say(ProcessEnded(f"process 0 of {os.environ['WORLD_SIZE']} has ended; give the same command again"))
            os._exit(1)


class ProcessLink(Callback):
    """Connects the first process with every other one, so that each learns when another ends.

    Args:
        run_dir: The run folder.
        timeout: Seconds after which a process that waits for another gives up; for messages.
    """

    def __init__(self, run_dir: Path, timeout: float) -> None:
        self.run_dir, self.timeout = run_dir, timeout
        self._links: dict[int, socket.socket] = {}
        self._rank, self._count, self._fits = 0, 1, False
        self._stopped = False
        self._lost: int | None = None
        self._code: int | None = None
        self._loss, self._first_speaks, self._first_follows = threading.Event(), threading.Event(), threading.Event()
        self._speaking = threading.Lock()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Connects the processes."""
        if trainer.world_size > 1 and not self._links:
            self._rank, self._count, self._fits = trainer.global_rank, trainer.world_size, stage == "fit"
            self._connect(trainer)
            _linked.set()
            threading.Thread(target=self._listen, daemon=True).start()

    def _connect(self, trainer: Trainer) -> None:
        strategy, token = trainer.strategy, secrets.token_bytes(16)
        try:
            if self._rank == 0:
                with socket.create_server(("" if trainer.num_nodes > 1 else "127.0.0.1", 0)) as server:
                    strategy.broadcast((server.getsockname()[1], token))
                    self._accept(server, token)
            else:
                port, token = strategy.broadcast((0, token))
                environment = trainer.strategy.cluster_environment  # type: ignore[attr-defined]
                address = environment.main_address if trainer.num_nodes > 1 else "127.0.0.1"
                self._links[0] = socket.create_connection((address, port), timeout=SECONDS_TO_CONNECT)
                self._links[0].sendall(token + self._rank.to_bytes(4, "big"))
        except OSError as error:
            warnings.warn(
                f"processes cannot connect ({error}): one that ends is noticed after {self.timeout:g} s only",
                stacklevel=2,
            )
        for link in self._links.values():
            link.settimeout(None)

    def _accept(self, server: socket.socket, token: bytes) -> None:
        deadline = time.monotonic() + SECONDS_TO_CONNECT
        while len(self._links) < self._count - 1:
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            link, _ = server.accept()
            link.settimeout(1)
            with suppress(OSError):  # somebody who says nothing
                said = link.recv(len(token) + 4, socket.MSG_WAITALL)
                if secrets.compare_digest(said[: len(token)], token):  # nobody else's
                    self._links[int.from_bytes(said[len(token) :], "big")] = link

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the place of Lightning's answer to SIGTERM, which waits for all processes in the middle of anything."""
        if self._links and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: self._stop())

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same where nothing is left undone: the process ends at once, and the others with it."""
        if self._links and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    on_predict_start = on_test_start

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same, outside a fit."""
        if not self._fits:
            self.on_test_start(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        """Ends the run after the iteration in which it was told to stop.

        Raises:
            SIGTERMException: It was.
        """
        if self._stopped:
            raise SIGTERMException

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        """The same in an evaluation."""
        self.on_train_batch_end(trainer, pl_module)

    def _stop(self) -> None:
        self._stopped = True
        self._tell(STOPS)

    def _tell(self, word: bytes) -> None:
        for link in self._links.values():
            try:
                link.sendall(word)
            except OSError:  # it is gone, which its own thread says
                continue

    def _listen(self) -> None:
        with selectors.DefaultSelector() as others:
            for rank, link in self._links.items():
                others.register(link, selectors.EVENT_READ, rank)
            while others.get_map():
                for key, _ in others.select():
                    word = _receive(self._links[key.data])
                    if word == DONE:
                        others.unregister(key.fileobj)
                    elif word == STOPS and not self._stopped:
                        self._stopped = True
                        self._tell(STOPS)
                    elif word == SPEAKS:
                        self._first_speaks.set()
                    elif word == FOLLOWS:
                        self._first_follows.set()
                    elif word in (FAILS, b""):
                        self._lose(key.data)
                        return

    def _lose(self, rank: int) -> None:
        self._lost = rank
        self._loss.set()
        # The main thread usually ends in this time, and this one with it.
        time.sleep(SECONDS_TO_END if self._rank == 0 else SECONDS_TO_END_WITHOUT_THE_FIRST)
        with self._speaking:
            if self._code is None:
                os._exit(self._follow())
        time.sleep(SECONDS_TO_CLOSE if self._rank == 0 else SECONDS_TO_END)  # an accelerator may hold up the end
        os._exit(self._code)

    def _follow(self) -> int:
        """Says that another process has ended, if that is for this one to say; the exit code."""
        self._tell(FOLLOWS)
        if self._stopped:
            if self._rank == 0:
                say_stopped(self.run_dir)
            return STOPPED
        if self._rank == 0 or (self._rank == 1 and not self._first_speaks.is_set() | self._first_follows.is_set()):
            return say(self._complaint())
        return 1

    def _complaint(self) -> ProcessEnded:
        who = "another process" if self._lost is None else f"process {self._lost} of {self._count}"
        return ProcessEnded(f"{who} has ended; {self._advice()}")

    def _advice(self) -> str:
        return how_to_go_on(self.run_dir) if self._fits else "give the same command again"

    @contextmanager
    def together(self) -> Iterator[None]:
        """Runs Lightning's part of a command; of what goes wrong on several processes one of them speaks."""
        try:
            with naming_the_file(self.run_dir):
                yield
        except SystemExit as stop:  # it was stopped, which is said
            with self._speaking:
                self._code = STOPPED if stop.code is None else int(stop.code)
            raise
        except Exception as error:
            if self._links:
                self._fail(error)
            if _waited_for_others(error):
                reason = f"in {self.timeout:g} s" if _timed_out(error) else f"({str(error).splitlines()[0]})"
                raise ProcessEnded(
                    f"the processes of this run have not come together {reason}; look whether all were "
                    "started and none has failed, then give the same command again"
                ) from error
            raise
        self._tell(DONE)

    def _fail(self, error: Exception) -> NoReturn:
        with self._speaking:
            self._code = self._end_with(error)
        sys.exit(self._code)

    def _end_with(self, error: Exception) -> int:
        """Says what went wrong, if that is for this process to say; the exit code."""
        waited = _waited_for_others(error)
        timed_out = waited and _timed_out(error)
        if waited and not timed_out:
            self._loss.wait(SECONDS_TO_END + 1)  # which was lost, the first learns at once and the others from its end
            return self._follow()
        if self._loss.wait(SECONDS_TO_END_WITHOUT_THE_FIRST if timed_out else 0) and (timed_out or self._rank):
            return self._follow()
        if timed_out:
            error = ProcessEnded(
                f"another process has not answered for {self.timeout:g} s; {self._advice()}; "
                "raise --process_timeout if it was only slow"
            )
        if self._rank == 0:
            self._tell(SPEAKS)
            return say(error)
        self._tell(FAILS)
        # The first has the same complaint and speaks, or ends because this one has failed.
        deadline = time.monotonic() + SECONDS_TO_END + 1
        while time.monotonic() < deadline and not (self._first_speaks.is_set() or self._loss.is_set()):
            time.sleep(0.05)
        return 2 if self._first_speaks.is_set() else say(error)


def _receive(link: socket.socket) -> bytes:
    try:
        return link.recv(1)
    except OSError:
        return b""


def _waited_for_others(error: Exception) -> bool:
    """Whether an error comes from communication between processes; gloo raises plain ones.

    When one of several operations of gloo times out, the others say "Application timeout caused pair closure" alone.
    """
    named = re.search("gloo|nccl|c10d|pair closure", str(error), re.IGNORECASE) is not None
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and named)


def _timed_out(error: Exception) -> bool:
    return re.search("timed out|timeout", str(error), re.IGNORECASE) is not None
