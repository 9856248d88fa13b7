"""Answers that were paid for, on disk before anything is done with them."""

import fcntl
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from zlib import crc32

import torch
from torch import Tensor

from lightning_extract.durable_file import write_durably
from lightning_extract.errors import InputError
from lightning_extract.oracle.queries import Samples

MAGIC, FORMAT_VERSION = b"LXANSWER", 1
# Magic, version, access, number of classes, the victim's weights_sha256, answers bought before; then their CRC-32.
FIELDS, CHECK = struct.Struct("<8sHI4s64sQ"), struct.Struct("<I")
# What the CRC-32 of a record starts from: 1 where more records of the same batch follow.
END_OF_BATCH, MORE_FOLLOW = 0, 1
HEADER_BYTES = FIELDS.size + CHECK.size
DIGEST_BYTES = 16  # ours: two of 20 million samples share one with a chance of 1e-24
RECORDS_AT_ONCE = 4096  # ours
NEW_FOLDER = "choose another --run_dir or remove that folder"


class AnswerStore:
    """One file a process of fixed-size records: digest of a sample, its answer, CRC-32 of both.

    A batch is on disk when ``add`` returns. One that was torn by a kill or a full disk is cut off when the process
    opens its own file and skipped in those of others. It is asked again as a whole, since the victim could answer a
    part of it differently in the last digits; a damaged record further ahead is asked alone. The files of all
    processes are read at opening, since a run may go on with another number of them; what another process buys later
    is not seen. A sample is found when it comes again bit by bit: one of a pool always, a generated one when the run
    goes on with as many processes and deterministic algorithms. In memory stand a digest and a place for each answer,
    about 150 bytes; the answers stay in the files.

    Args:
        folder: Of this run alone.
        rank: Number of this process.
        num_classes: Length of a soft answer.
        access: ``soft`` keeps float32 probabilities, ``hard`` an int64 label.
        weights_sha256: Hash of the victim's weights.
        asked_before: Answers that the run bought before it had a store; kept when the folder is new.

    Attributes:
        asked: Answers that the victim gave until the store was opened, by all processes.

    Raises:
        InputError: A file holds answers of another kind or victim, is damaged, or is written by another process.
    """

    def __init__(
        self, folder: Path, rank: int, num_classes: int, access: str, weights_sha256: str, asked_before: int = 0
    ) -> None:
        self._classes, self._access, self._weights = num_classes, access, weights_sha256
        self._answer_bytes = 4 * num_classes if access == "soft" else 8
        self._record_bytes = DIGEST_BYTES + self._answer_bytes + CHECK.size
        self._places: dict[bytes, int] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"rank_{rank}.bin"
        others = sorted(folder.glob("rank_*.bin"))
        if not self.path.exists():
            self._create(self._check_header(others[0]) if others else asked_before)
        paths = sorted(folder.glob("rank_*.bin"))
        bought_before = [self._check_header(path) for path in paths]
        self._stride, self._own = len(paths), paths.index(self.path)
        self._files = [os.open(path, (os.O_RDWR | os.O_APPEND) if path == self.path else os.O_RDONLY) for path in paths]
        self._hold(self._files[self._own])
        records = [self._read_records(file) for file in range(len(paths))]
        self.asked = bought_before[0] + sum(records)
        self._count = records[self._own]
        os.ftruncate(self._files[self._own], HEADER_BYTES + self._count * self._record_bytes)

    def missing(self, digests: Sequence[bytes]) -> list[int]:
        """Positions of samples without an answer, each sample once."""
        first: dict[bytes, int] = {}
        for position, digest in enumerate(digests):
            first.setdefault(digest, position)
        return [position for digest, position in first.items() if digest not in self._places]

    def add(self, digests: Sequence[bytes], answers: Tensor) -> None:
        """Writes the answers ``(B, K)`` or ``(B,)`` to samples and waits until they are on disk.

        Raises:
            OSError: The disk does not take them; it names the file.
        """
        kept = answers.detach().cpu().contiguous().numpy().tobytes()
        records = bytearray()
        for position, digest in enumerate(digests):
            content = digest + kept[position * self._answer_bytes : (position + 1) * self._answer_bytes]
            follows = END_OF_BATCH if position == len(digests) - 1 else MORE_FOLLOW
            records += content + CHECK.pack(crc32(content, follows))
        try:
            _write(self._files[self._own], records)
            os.fsync(self._files[self._own])
        except OSError as error:
            error.filename = str(self.path)
            raise
        for digest in digests:
            self._places[digest] = self._own + self._stride * self._count
            self._count += 1

    def answers(self, digests: Sequence[bytes]) -> Tensor:
        """The stored answers to samples, ``(B, K)`` float32 or ``(B,)`` int64, on the CPU."""
        kept = bytearray()
        for digest in digests:
            number, file = divmod(self._places[digest], self._stride)
            start = HEADER_BYTES + number * self._record_bytes + DIGEST_BYTES
            kept += os.pread(self._files[file], self._answer_bytes, start)
        if self._access == "hard":
            return torch.frombuffer(kept, dtype=torch.int64)
        return torch.frombuffer(kept, dtype=torch.float32).view(len(digests), self._classes)

    def close(self) -> None:
        """Closes the files."""
        while self._files:
            os.close(self._files.pop())

    def _create(self, asked_before: int) -> None:
        access, weights = self._access.encode(), self._weights.encode()
        fields = FIELDS.pack(MAGIC, FORMAT_VERSION, self._classes, access, weights, asked_before)
        write_durably(self.path, fields + CHECK.pack(crc32(fields)))

    def _hold(self, file: int) -> None:
        """Keeps others from writing: of a killed run the other processes live on for a while."""
        with suppress(OSError):  # a disk without locks
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(f"{self.path} is in use by a process of this run; wait until it has ended") from error

    def _check_header(self, path: Path) -> int:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
        fields, check = header[: FIELDS.size], header[FIELDS.size :]
        if len(header) < HEADER_BYTES or not fields.startswith(MAGIC) or CHECK.pack(crc32(fields)) != check:
            raise InputError(f"{path} is damaged or no file of answers; remove it, and what it held is asked again")
        _, version, classes, access, weights, before = FIELDS.unpack(fields)
        if version != FORMAT_VERSION:
            raise InputError(f"{path} has format {version}, expected {FORMAT_VERSION}; {NEW_FOLDER}")
        if access.decode() != self._access:
            raise InputError(f"{path} holds {access.decode()} answers, but access is {self._access}; {NEW_FOLDER}")
        if weights.rstrip(b"\0").decode() != self._weights or classes != self._classes:
            raise InputError(
                f"{path} holds answers of another victim: {classes} classes and weights_sha256 "
                f"{weights[:12].decode()}... there, {self._classes} and {self._weights[:12]}... now; {NEW_FOLDER}"
            )
        return int(before)

    def _read_records(self, file: int) -> int:
        """Notes where a file's answers stand; returns its number of records up to the end of a batch."""
        size, number, whole = self._record_bytes, 0, 0
        batch: dict[bytes, int] = {}
        with os.fdopen(os.dup(self._files[file]), "rb") as reader:
            reader.seek(HEADER_BYTES)
            while block := reader.read(size * RECORDS_AT_ONCE):
                for start in range(0, len(block) - size + 1, size):
                    record = block[start : start + size]
                    content, check = record[: -CHECK.size], record[-CHECK.size :]
                    ends = CHECK.pack(crc32(content, END_OF_BATCH)) == check
                    if ends or CHECK.pack(crc32(content, MORE_FOLLOW)) == check:
                        batch[content[:DIGEST_BYTES]] = file + self._stride * number
                    number += 1
                    if ends:
                        self._places |= batch
                        batch, whole = {}, number
        return whole


def digests_of(samples: Samples) -> list[bytes]:
    """A digest of each sample: of an image's shape, dtype and float32 pixels, or of a sentence's UTF-8.

    Images on an accelerator are copied to the CPU, which waits for them.
    """
    if not isinstance(samples, Tensor):
        return [_digest(b"sentence ", sentence.encode("utf-8", "surrogatepass")) for sentence in samples]
    kind = f"image {tuple(samples.shape[1:])} {samples.dtype} ".encode()
    pixels = memoryview(samples.detach().float().cpu().contiguous().numpy().tobytes())
    step = len(pixels) // len(samples)
    return [_digest(kind, pixels[start : start + step]) for start in range(0, len(pixels), step)]


def _digest(kind: bytes, content: bytes | memoryview) -> bytes:
    digest = blake2b(kind, digest_size=DIGEST_BYTES)
    digest.update(content)
    return digest.digest()


def _write(file: int, content: bytes | bytearray) -> None:
    left = memoryview(content)
    while left:  # a disk that is nearly full takes a part
        left = left[os.write(file, left) :]
