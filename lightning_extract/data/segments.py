"""Segments: what came between two checkpoints, in files beside them that are written once and never again."""

import re
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

CHECKSUM = "crc32"  # in the metadata of a segment
NAME = re.compile(r"(\d{12,})_(\d{12,})\.safetensors")


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
    """Writes rows as one segment, whole or not at all, in place of all that lies there beyond its first row.

    What lies there is of a process that was killed before a checkpoint knew of it, or went on from a later one.

    Args:
        folder: Where it is to lie; made when it is not there.
        start: Number of the first row.
        rows: Tensors ``(n, ...)`` by name, on the CPU.
    """
    for path in folder.glob("*.partial"):
        path.unlink()
    for path, _, stop in _files(folder):
        if stop > start:
            path.unlink()
    stop = start + len(next(iter(rows.values())))
    content = save(rows, {CHECKSUM: str(checksum(rows))})
    write_durably(folder / f"{start:012d}_{stop:012d}.safetensors", content)


def read_segments(folder: Path, start: int, stop: int) -> Iterator[Segment]:
    """The rows from one number to another, in order, without segments that go beyond.

    Raises:
        InputError: A segment is missing or damaged.
    """
    position = start
    for path, first, end in _files(folder):
        if first <= position < end <= stop:
            rows = _read(path, end - first)
            yield Segment(path, position, {name: tensor[position - first :] for name, tensor in rows.items()})
            position = end
    if position != stop:
        raise InputError(
            f"{folder} lacks the samples from {position:,} to {stop:,}, which the run folder of the checkpoint has; "
            "restore it or start a new run folder"
        )


def drop_segments(folder: Path, before: int) -> None:
    """Deletes the segments that hold nothing from the row of this number on."""
    for path, _, stop in _files(folder):
        if stop <= before:
            path.unlink()


def _files(folder: Path) -> list[tuple[Path, int, int]]:
    """Segments with the number of their first row and of the one after the last, in order."""
    named = ((path, NAME.fullmatch(path.name)) for path in folder.glob("*.safetensors"))
    return sorted((path, int(name[1]), int(name[2])) for path, name in named if name)


def _read(path: Path, count: int) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            rows = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
            expected = (file.metadata() or {}).get(CHECKSUM)
    except SafetensorError as error:
        raise InputError(f"segment {path} is damaged ({error}); restore it or start a new run folder") from error
    if str(checksum(rows)) != expected or any(len(tensor) != count for tensor in rows.values()):
        what = "no" if expected is None else "another"
        raise InputError(f"segment {path} has {what} checksum; restore it or start a new run folder")
    return rows


def checksum(rows: dict[str, Tensor]) -> int:
    """Of names, types, shapes and contents of tensors on the CPU."""
    check = 0
    for name, tensor in sorted(rows.items()):
        check = crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), check)
        check = crc32(tensor.contiguous().view(torch.uint8).numpy().data, check)
    return check
