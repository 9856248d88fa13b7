"""The published text data sets of ActiveThief, read as their archives unpack."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from lightning_extract.data.text_files import csv_rows, text_lines
from lightning_extract.data.text_set import TextSet
from lightning_extract.data.text_splits import Split
from lightning_extract.errors import InputError

Example = tuple[str, int]

# ActiveThief, table 2: 1,066 of MR's 10,662 sentences are for testing; which ones is not published.
MR_TEST_TENTH = 10
AG_NEWS_COLUMNS = 3
AG_NEWS_HEADER = "Class Index"  # on some copies


@dataclass(frozen=True)
class TextArchive:
    """Where a data set lies and how it is read.

    Args:
        classes: Names of the classes.
        folder: What the published archive unpacks to.
        files: What is needed of it.
        archive: Name and address of the archive.
        examples: Unpacked folder and split to sentences and class indices.
    """

    classes: tuple[str, ...]
    folder: str
    files: tuple[str, ...]
    archive: str
    examples: Callable[[Path, Split], Iterator[Example]]

    def describe_missing(self, name: str, root: Path) -> str | None:
        """One sentence on what has to be put where, or None."""
        place = self._place(name, root)
        missing = [file for file in self.files if not (place / file).exists()]
        if not missing:
            return None
        return (
            f"data set {name} is not complete in {root / name}/: put {', '.join(missing)} there (unpacked, from "
            f"{self.archive}), or give the folder above with --data.init_args.root"
        )

    def read(self, name: str, root: Path, split: Split) -> TextSet:
        """Reads one split.

        Raises:
            InputError: A file is damaged, or there is no sentence.
        """
        examples = list(self.examples(self._place(name, root), split))
        if not examples:
            raise InputError(f"{root / name} holds no {split} sentence; put the files of {self.archive} there anew.")
        return TextSet([text for text, _ in examples], torch.tensor([label for _, label in examples]), self.classes)

    def _place(self, name: str, root: Path) -> Path:
        unpacked = root / name / self.folder
        return unpacked if unpacked.is_dir() else root / name


def _mr(place: Path, split: Split) -> Iterator[Example]:
    examples = [
        (line, label)
        for label, name in enumerate(("neg", "pos"))
        for _, line in text_lines(place / f"rt-polarity.{name}", "latin-1")
    ]
    by_hash = sorted(examples, key=lambda example: hashlib.blake2b(example[0].encode(), digest_size=8).digest())
    test = set(by_hash[: len(examples) // MR_TEST_TENTH])
    return (example for example in examples if (example in test) == (split == "test"))


def _imdb(place: Path, split: Split) -> Iterator[Example]:
    for label, name in enumerate(("neg", "pos")):
        for path in sorted((place / split / name).glob("*.txt")):
            text = " ".join(line for _, line in text_lines(path)).replace("<br />", " ").strip()
            if not text:
                raise InputError(f"{path} is empty; put an undamaged copy there.")
            yield text, label


def _ag_news(place: Path, split: Split) -> Iterator[Example]:
    path = place / f"{split}.csv"
    for line, row in csv_rows(path):
        if line == 1 and row[0] == AG_NEWS_HEADER:
            continue
        if len(row) != AG_NEWS_COLUMNS or row[0] not in ("1", "2", "3", "4"):
            raise InputError(
                f"{path}, line {line} is not a class from 1 to 4, a title and a text; put an undamaged copy there."
            )
        yield f"{row[1].strip()} {row[2].strip()}", int(row[0]) - 1


def _trec(place: Path, split: Split) -> Iterator[Example]:
    path = place / TREC_FILES[split]
    for number, line in text_lines(path, "latin-1"):
        label, _, question = line.partition(" ")
        kind = label.partition(":")[0]
        if kind not in TREC_CLASSES or not question:
            raise InputError(
                f"{path}, line {number} is not a class ({', '.join(TREC_CLASSES)}), its subclass and a question; "
                "put an undamaged copy there."
            )
        yield question.strip(), TREC_CLASSES.index(kind)


TREC_CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
TREC_FILES: dict[Split, str] = {"train": "train_5500.label", "test": "TREC_10.label"}

TEXT_ARCHIVES = {
    "mr": TextArchive(
        ("negative", "positive"),
        "rt-polaritydata",
        ("rt-polarity.neg", "rt-polarity.pos"),
        "rt-polaritydata.tar.gz of https://www.cs.cornell.edu/people/pabo/movie-review-data/",
        _mr,
    ),
    "imdb": TextArchive(
        ("negative", "positive"),
        "aclImdb",
        tuple(f"{split}/{name}" for split in ("train", "test") for name in ("neg", "pos")),
        "aclImdb_v1.tar.gz of https://ai.stanford.edu/~amaas/data/sentiment/",
        _imdb,
    ),
    # ActiveThief states 5 classes, but its numbers of texts are those of this set of 4.
    "ag_news": TextArchive(
        ("World", "Sports", "Business", "Sci/Tech"),
        "ag_news_csv",
        ("train.csv", "test.csv"),
        "ag_news_csv.tgz, Zhang et al. 2015",
        _ag_news,
    ),
    # ActiveThief's 15,000 training questions would be train_1000 to train_5500 together, but each of these files is a
    # part of the next: the largest, of 5,452 questions, holds them all.
    "trec": TextArchive(
        TREC_CLASSES, "", tuple(TREC_FILES.values()), "https://cogcomp.seas.upenn.edu/Data/QA/QC/", _trec
    ),
}
