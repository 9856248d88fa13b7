"""Segments: what came between two checkpoints, in files beside them that are written once and never again."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lightning_extract.durable_file import write_durably
from lightning_extract.errors import InputError

CHECKSUM = "crc32"  # in the metadata of a segment: its tensors in the order of their names


class Segment(NamedTuple):
    """Rows of a segment.

    Args:
        path: Where it lies.
        start: Number of the first row.
        rows: Tensors ``(n, ...)`` by name, on the CPU.
    """

    path: Path
    start: int
    rows: dict[str, Tensor]


def write_segment(folder: Path, start: int, rows: dict[str, Tensor]) -> None:
    """Writes rows as one segment, whole or not at all.

    Args:
        folder: Where it is to lie; made when it is not there.
        start: Number of the first row.
        rows: Tensors ``(n, ...)`` by name, on the CPU.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path, _, stop in _files(folder):
        if stop > start:  # of a process that was killed before a checkpoint knew of it
            path.unlink()
    stop = start + len(next(iter(rows.values())))
    content = save(rows, {CHECKSUM: str(_checksum(rows))})
    write_durably(folder / f"{start:012d}_{stop:012d}.safetensors", content)


def read_segments(folder: Path, start: int, stop: int) -> Iterator[Segment]:
    """The rows from one number to another, in order; segments that go beyond are deleted.

    Raises:
        InputError: A segment is missing or damaged.
    """
    position = start
    for path, first, end in _files(folder):
        if end > stop:
            path.unlink(missing_ok=True)  # every process reads the folder, one of them is first
        elif first <= position < end:
            yield Segment(path, position, {name: rows[position - first :] for name, rows in _read(path).items()})
            position = end
    if position != stop:
        raise InputError(
            f"{folder} lacks the samples from {position:,} to {stop:,}; restore it or start a new run folder"
        )


def drop_segments(folder: Path, before: int) -> None:
    """Deletes the segments that hold nothing from the row of this number on."""
    for path, _, stop in _files(folder):
        if stop <= before:
            path.unlink()


def _files(folder: Path) -> list[tuple[Path, int, int]]:
    """Segments with the number of their first row and of the one after the last, in order."""
    found: list[tuple[Path, int, int]] = []
    for path in sorted(folder.glob("*_*.safetensors")):
        start, stop = path.stem.split("_")
        found.append((path, int(start), int(stop)))
    return found


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            rows = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
            expected = (file.metadata() or {}).get(CHECKSUM)
    except SafetensorError as error:
        raise InputError(f"segment {path} is damaged ({error}); restore it or start a new run folder") from error
    if str(_checksum(rows)) != expected:
        what = "no" if expected is None else "another"
        raise InputError(f"segment {path} has {what} checksum; restore it or start a new run folder")
    return rows


def _checksum(rows: dict[str, Tensor]) -> int:
    check = 0
    for name in sorted(rows):
        check = crc32(rows[name].contiguous().view(torch.uint8).numpy().data, check)
    return check
