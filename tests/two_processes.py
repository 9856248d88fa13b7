"""Runs a function on two real gloo processes."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn


def run_on_two_processes(function: Callable[..., None], *arguments: Any) -> None:
    """Calls ``function(rank, *arguments)`` on ranks 0 and 1; a failure on either is raised here."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_run, (f"file://{folder}/store", function, arguments), nprocs=2)  # type: ignore[no-untyped-call]


def rank_file(folder: Path, rank: int) -> Path:
    """Where a rank leaves its results."""
    return folder / f"rank{rank}.pt"


def _run(rank: int, store: str, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    try:
        function(rank, *arguments)
    finally:
        dist.destroy_process_group()
