"""Lines and records of text files, plain or gzipped; every mistake is named by file and line."""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from lightning_extract.errors import InputError

RECORD_SUFFIXES = (".jsonl", ".csv")
TEXT_SUFFIXES = (".txt", *RECORD_SUFFIXES)

Record = dict[str, object]

_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can write one; no encoding, and no tokenizer, takes it


def text_suffix(path: Path) -> str:
    """The suffix of a file without that of its compression: ``.jsonl`` of ``pool.jsonl.gz``."""
    return Path(path.name.removesuffix(".gz")).suffix


def text_lines(path: Path, encoding: str = "utf-8", empty_lines: bool = False) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, from 1, without the white space around them.

    Args:
        path: A text file; gzipped when it ends with .gz.
        encoding: Of the file.
        empty_lines: Whether empty lines are passed over anywhere, not only at the end.

    Raises:
        InputError: The file cannot be read or decoded, or a line is empty where it may not be.
    """
    empty = None
    for number, line in _raw_lines(path, encoding):
        stripped = line.strip()
        if not stripped:
            empty = empty or number
            continue
        if empty is not None and not empty_lines:
            raise InputError(f"{path}, line {empty} is empty; remove it.")
        yield number, stripped


def text_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Objects of a .jsonl file, or rows of a .csv file by its header, with their line numbers.

    Raises:
        InputError: The file cannot be read, or a line is no object or has not as many fields as the header.
    """
    return _json_records(path) if text_suffix(path) == ".jsonl" else _csv_records(path)


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a .csv file, with the number of the line on which each ends.

    Raises:
        InputError: The file cannot be read, or its quotes are broken.
    """
    reader = csv.reader((line for _, line in _raw_lines(path, "utf-8")), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num} is no row of a CSV table ({error}); correct it.") from None


def text_field(record: Record, path: Path, line: int) -> str:
    """The field ``text`` of a record, without the white space around it.

    Raises:
        InputError: It is missing, no string, empty, or holds half of a character.
    """
    text = record_field(record, "text", path, line)
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{path}, line {line}: the field text is {text!r}, not a sentence; correct or remove it.")
    if _SURROGATE.search(text):
        raise InputError(f"{path}, line {line}: the field text holds a lone surrogate, no character; correct it.")
    return text.strip()


def record_field(record: Record, name: str, path: Path, line: int) -> object:
    """A field of a record.

    Raises:
        InputError: It is missing.
    """
    if name not in record:
        has = ", ".join(map(str, record)) or "none"
        raise InputError(f"{path}, line {line} has no field {name} (its fields: {has}); add it.")
    return record[name]


def _raw_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    number, offset = 0, 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, _decoded(line, path, number, offset, encoding)
                offset += len(line)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read beyond line {number} ({error}); put an undamaged copy there."
        ) from None


def _decoded(line: bytes, path: Path, number: int, offset: int, encoding: str) -> str:
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, line {number} is not {encoding.upper()} at byte {offset + error.start:,} of the file; "
            f"save the file as {encoding.upper()}."
        ) from None
    return text.removeprefix("\ufeff") if number == 1 else text


def _json_records(path: Path) -> Iterator[tuple[int, Record]]:
    for number, line in text_lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number} is no JSON ({error}); correct or remove it.") from None
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number} is no JSON object; write one object with its fields a line.")
        yield number, record


def _csv_records(path: Path) -> Iterator[tuple[int, Record]]:
    header: list[str] | None = None
    for number, row in csv_rows(path):
        if header is None:
            header = [name.strip() for name in row]
        elif len(row) != len(header):
            raise InputError(
                f"{path}, line {number} has {len(row)} fields, its header {len(header)} ({', '.join(header)}); "
                "quote texts with commas."
            )
        else:
            yield number, dict(zip(header, row, strict=True))
