"""Pre-trained word vectors, read by gensim."""

from dataclasses import dataclass
from gzip import open as open_gzip
from pathlib import Path
from types import ModuleType
from typing import Literal
from zlib import error as ZlibError

import psutil
import torch
from torch import Tensor

from lightning_extract.data.words import PADDING, WordTokenizer
from lightning_extract.errors import InputError

LineKind = Literal["header", "vector", "other"]

FLOAT_BYTES = 4
# A line of fewer numbers after its first word may be a sentence.
MIN_NUMBERS = 10
LONGEST_LINE = 1 << 20


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words and their vectors, the most frequent word first.

    Args:
        words: The words, as written in the file.
        values: A row each, float32.

    Shape:
        values ``(n, d)`` for n words.
    """

    words: list[str]
    values: Tensor


def read_vectors(path: str | Path, limit: int | None = None) -> WordVectors:
    """Reads word vectors into memory; nothing in the file is run.

    Args:
        path: A file in word2vec's text or binary format or in GloVe's (text without a first line of sizes), gzipped
            when it ends with .gz. The content tells the format.
        limit: So many of the first words, which are the most frequent; all when not given.

    Raises:
        InputError: The file is missing, damaged, none of these, or larger than the free memory; or the library is
            missing.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise InputError(f"{limit} word vectors are none; read at least 1, or all.")
    first, second = _first_lines(path)
    if _kind(first) == "other":
        raise InputError(f"{path} holds no word vectors in word2vec's or GloVe's format; give such a file.")
    header = _kind(first) == "header"
    if header:
        _refuse_if_too_large(path, first, limit)
    keyed_vectors = _require_gensim().KeyedVectors
    try:
        read = keyed_vectors.load_word2vec_format(
            str(path), binary=header and not _numbers(second), limit=limit, no_header=not header
        )
    except (OSError, EOFError, ValueError, IndexError, ZlibError, MemoryError, AssertionError) as error:
        raise InputError(f"{path} cannot be read as word vectors ({error}); put an undamaged copy there.") from None
    values = torch.from_numpy(read.vectors)
    if len(values) == 0 or not values.isfinite().all():
        raise InputError(f"{path} holds no word vectors, or some that are no numbers; put an undamaged copy there.")
    return WordVectors(list(read.index_to_key), values)


def holds_vectors(path: Path) -> bool:
    """Whether the first line of a file is that of word vectors, and not a sentence.

    Raises:
        InputError: The file cannot be read.
    """
    return _kind(_first_lines(path)[0]) != "other"


@torch.no_grad()
def fill_embedding(weight: Tensor, tokenizer: WordTokenizer, vectors: WordVectors) -> int:
    """Copies the vectors of known words into an embedding, in place.

    The random rows of the other words are scaled to the variance of the vectors; the row of the padding stays.

    Reference:
        Kim, Convolutional Neural Networks for Sentence Classification, EMNLP 2014, section 4.3.

    Args:
        weight: Of the embedding, with fresh random values.
        tokenizer: Which word each row belongs to.
        vectors: Where words are looked up as the tokenizer writes them.

    Returns:
        Number of words with a vector.

    Shape:
        weight ``(V, d)`` for V words of the tokenizer and vectors of length d.

    Raises:
        InputError: The sizes do not fit.
    """
    dimension = vectors.values.shape[1]
    if weight.shape != (len(tokenizer), dimension):
        raise InputError(
            f"the embedding has {weight.shape[0]:,} words of {weight.shape[1]} numbers, but there are "
            f"{len(tokenizer):,} words, and vectors of {dimension}; set embedding_dim to {dimension}, or give other "
            "vectors."
        )
    places = {word: place for place, word in enumerate(vectors.words)}
    pairs = [(row, places[word]) for row, word in enumerate(tokenizer.words) if word in places and row != PADDING]
    known = torch.zeros(len(weight), dtype=torch.bool)
    known[[row for row, _ in pairs]] = True
    known[PADDING] = True
    others = weight[~known.to(weight.device)]
    if len(others):
        weight[~known.to(weight.device)] = others * (vectors.values.std() / others.std())
    rows, sources = torch.tensor(pairs, dtype=torch.int64).view(-1, 2).unbind(dim=1)
    weight[rows] = vectors.values[sources].to(weight)
    return len(pairs)


def _require_gensim() -> ModuleType:
    try:
        from gensim import models
    except ImportError:
        raise InputError(
            "word vectors need the package gensim, which is missing: pip install 'lightning_extract[text]'"
        ) from None
    library: ModuleType = models
    return library


def _first_lines(path: Path) -> tuple[bytes, bytes]:
    try:
        with open_gzip(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.readline(LONGEST_LINE), file.readline(LONGEST_LINE)
    except (OSError, EOFError, ZlibError) as error:
        raise InputError(f"{path} cannot be read ({error}); put an undamaged copy there.") from None


def _kind(line: bytes) -> LineKind:
    parts = line.split()
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        return "header"
    return "vector" if _numbers(line) >= MIN_NUMBERS else "other"


def _numbers(line: bytes) -> int:
    """How many numbers follow the first word of a line; 0 when anything else does."""
    numbers = line.split()[1:]
    try:
        line.decode()
        return len([float(number) for number in numbers])
    except ValueError:
        return 0


def _refuse_if_too_large(path: Path, header: bytes, limit: int | None) -> None:
    words, dimension = map(int, header.split())
    needed, free = min(words, limit or words) * dimension * FLOAT_BYTES, psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"{path} announces {words:,} vectors of {dimension:,} numbers, which need {needed / 1e9:.1f} GB; "
            f"{free / 1e9:.1f} GB are free, so give fewer vectors, or an undamaged file."
        )
