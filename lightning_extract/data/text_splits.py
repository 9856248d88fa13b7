"""Labelled texts of the user: a file for training and one for testing, JSON lines or CSV."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lightning_extract.data.text_files import RECORD_SUFFIXES, record_field, text_field, text_records, text_suffix
from lightning_extract.data.text_set import TextSet
from lightning_extract.errors import InputError

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
ENDINGS = tuple(suffix + packed for suffix in RECORD_SUFFIXES for packed in ("", ".gz"))


@dataclass(frozen=True)
class _Example:
    line: int
    sentence: str
    label: int | str
    name: str | None


def describe_missing_split(dataset: str) -> str | None:
    """One sentence on what the files of a data set lack, or None."""
    for split in SPLITS:
        files = _files(dataset, split)
        if not files:
            wanted = f"{dataset}/{split}.jsonl" if Path(dataset).is_dir() else f"{dataset}_{split}.jsonl"
            return (
                f"{wanted} does not exist (nor with {', '.join(ENDINGS[1:])}); put it there, with the fields text and "
                "label."
            )
        if len(files) > 1:
            return f"{dataset!r} has several files for {split} ({', '.join(map(str, files))}); keep one of them."
    return None


def read_split(dataset: str, split: Split) -> TextSet:
    """Reads one split; the classes are those of the training file.

    Args:
        dataset: A folder with ``train.jsonl`` and ``test.jsonl``, or the beginning of ``<dataset>_train.jsonl`` and
            ``<dataset>_test.jsonl``; .csv and .gz as well. The fields are ``text``, ``label`` (an integer from 0, or
            the name of a class) and, as one likes, ``label_name``.
        split: Which part.

    Raises:
        InputError: A file is missing or damaged, or its labels are no classes.
    """
    missing = describe_missing_split(dataset)
    if missing is not None:
        raise InputError(missing)
    path = _files(dataset, "train")[0]
    examples = _read(path)
    classes = _classes(path, examples)
    if split == "test":
        path = _files(dataset, "test")[0]
        examples = _read(path)
    places = {label: place for place, label in enumerate(classes)}
    for example in examples:
        if example.label not in places:
            raise InputError(
                f"{path}, line {example.line}: label {example.label!r} is none of the training file's "
                f"({', '.join(map(repr, classes))}); correct it."
            )
    labels = torch.tensor([places[example.label] for example in examples])
    return TextSet([example.sentence for example in examples], labels, tuple(classes.values()))


def split_classes(dataset: str) -> tuple[str, ...]:
    """Names of the classes, from the training file.

    Raises:
        InputError: A file is missing or damaged, or its labels are no classes.
    """
    return read_split(dataset, "train").classes


def _files(dataset: str, split: Split) -> list[Path]:
    stems = (f"{dataset}/{split}", f"{dataset}_{split}")
    return [path for stem in stems for ending in ENDINGS if (path := Path(stem + ending)).is_file()]


def _read(path: Path) -> list[_Example]:
    examples = []
    for line, record in text_records(path):
        label, name = record_field(record, "label", path, line), record.get("label_name")
        if text_suffix(path) == ".csv" and isinstance(label, str) and label.strip().isdecimal():
            label = int(label)
        if not isinstance(label, (int, str)) or isinstance(label, bool) or label == "":
            raise InputError(f"{path}, line {line}: label is {label!r}; write an integer from 0, or a class's name.")
        examples.append(_Example(line, text_field(record, path, line), label, None if name is None else str(name)))
    if not examples:
        raise InputError(f"{path} holds no sentence; put an undamaged copy there.")
    return examples


def _classes(path: Path, examples: list[_Example]) -> dict[int | str, str]:
    """Names of the classes by label, in the order of their indices."""
    kind = type(examples[0].label)
    for example in examples:
        if type(example.label) is not kind:
            raise InputError(
                f"{path}, line {example.line}: label is {example.label!r}, an earlier one {examples[0].label!r}; "
                "write all as integers or all as names."
            )
    if kind is str:
        found = sorted({str(example.label) for example in examples})
        classes: dict[int | str, str] = {name: name for name in found}
    else:
        numbers = sorted({int(example.label) for example in examples})
        if numbers != list(range(len(numbers))):
            raise InputError(
                f"{path} has the labels {', '.join(map(str, numbers[:8]))}{', ...' if len(numbers) > 8 else ''}; "
                f"number the {len(numbers)} classes from 0 without gaps, or label them by name."
            )
        classes = {number: str(number) for number in numbers}
        for example in reversed(examples):
            classes[example.label] = example.name or classes[example.label]
    if len(classes) < 2:
        raise InputError(f"all labels of {path} are {examples[0].label!r}; a data set needs at least 2 classes.")
    return classes
