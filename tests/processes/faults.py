"""A run in which one process fails at a chosen place."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from lightning_extract.attacks import ExtractionAttack, activethief
from lightning_extract.callbacks import run_checkpoint
from lightning_extract.cli import main

# What fails, and how many times it passes before.
PLACES: dict[str, tuple[Any, str, int]] = {
    "backward": (ExtractionAttack, "manual_backward", 5),
    "evaluation": (ExtractionAttack, "validation_step", 3),
    "checkpoint": (ExtractionAttack, "on_save_checkpoint", 1),
    "second checkpoint": (ExtractionAttack, "on_save_checkpoint", 2),  # the first epoch writes two files
    "checkpoint write": (run_checkpoint, "write_durably", 1),  # on rank 0 alone
    "selection": (activethief, "select", 1),
}


def _raise() -> None:
    raise ZeroDivisionError("broken on purpose")


def _hang() -> None:
    time.sleep(10_000)


ACTS: dict[str, Callable[[], None]] = {
    "raises": _raise,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "terminated": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "hangs": _hang,
}


def fit_with_fault(rank: int, arguments: list[str], place: str, failing: int, act: str) -> None:
    """Runs the command, whose process ``failing`` fails."""
    if rank == failing:
        owner, name, left = PLACES[place]
        whole, calls = getattr(owner, name), 0

        def fail_late(*given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == left + 1:
                ACTS[act]()
            return whole(*given, **named)

        setattr(owner, name, fail_late)
    main(arguments)
