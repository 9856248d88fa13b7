"""Any thief pool of sentences by its name or path: WikiText-2, files, or noise over a vocabulary."""

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import psutil

from lightning_extract.data.draws import limited_choice
from lightning_extract.data.sentence_pool import SentencePool
from lightning_extract.data.text_files import TEXT_SUFFIXES, text_field, text_lines, text_records, text_suffix
from lightning_extract.data.wikitext import WIKITEXT_FILES, WIKITEXT_FOLDER, wikitext_sentences
from lightning_extract.data.word_noise import check_noise_lengths, noise_sentences
from lightning_extract.data.word_vectors import holds_vectors, read_vectors
from lightning_extract.data.words import SPECIAL_WORDS, WordTokenizer
from lightning_extract.errors import InputError

WIKITEXT = "wikitext2"
UNIFORM_WORDS = "uniform_words"
# Ours, for want of published ones: nine tenths of WikiText-2's sentences have so many words.
NOISE_LENGTHS = (10, 57)
NOISE_VECTORS = 200_000  # words taken of a file of vectors, the most frequent ones; ours


def read_sentences(
    pool: str,
    root: str | Path = "data",
    limit: int | None = None,
    seed: int = 0,
    noise_words: str | None = None,
    noise_lengths: tuple[int, int] = NOISE_LENGTHS,
) -> SentencePool:
    """Reads a pool of sentences into memory.

    Args:
        pool: wikitext2, uniform_words, or the path of a .txt file (a sentence a line), a .jsonl file (field text), a
            .csv file (column text) or a folder of such files; .gz as well.
        root: Folder that holds wikitext-2.
        limit: At most so many sentences, a choice drawn by the seed; all when not given. The number of uniform_words.
        seed: The run's seed.
        noise_words: Where uniform_words takes its vocabulary from: another pool, or a file of word vectors.
        noise_lengths: Fewest and most words of a sentence of uniform_words.

    Raises:
        InputError: The pool is unknown, missing, damaged, empty or larger than the free memory.
    """
    check_sentence_request(pool, limit, noise_words, noise_lengths)
    missing = describe_missing_sentences(pool, root, noise_words)
    if missing is not None:
        raise InputError(missing)
    if pool == UNIFORM_WORDS:
        assert limit is not None
        assert noise_words is not None
        return SentencePool(noise_sentences(_vocabulary(noise_words, root), noise_lengths, limit, seed))
    chosen = None
    if limit is not None:
        count = sum(1 for _ in _sentences(pool, root))
        if limit < count:
            chosen = set(limited_choice(count, limit, seed).tolist())
    return SentencePool(_in_memory(pool, root, chosen))


def check_sentence_request(
    pool: str, limit: int | None, noise_words: str | None, noise_lengths: tuple[int, int]
) -> None:
    """Refuses an impossible choice of sentences, before any is read.

    Raises:
        InputError: A limit below 1, impossible lengths, or noise without what it needs.
    """
    if limit is not None and limit < 1:
        raise InputError(f"pool_limit is {limit}; give at least 1 sentence, or null for all")
    check_noise_lengths(noise_lengths)
    if pool == UNIFORM_WORDS and limit is None:
        raise InputError(f"pool {pool!r} has as many sentences as are asked for; set pool_limit")
    if pool == UNIFORM_WORDS and noise_words is None:
        raise InputError(f"pool {pool!r} needs a vocabulary; set noise_words to a file of sentences or of word vectors")
    if noise_words == UNIFORM_WORDS:
        raise InputError(f"noise_words is {noise_words!r}, which has no vocabulary; give a file of sentences")
    if pool != UNIFORM_WORDS and noise_words is not None:
        raise InputError(f"noise_words is {noise_words!r}, but pool {pool!r} is no noise; remove it")


def describe_missing_sentences(pool: str, root: str | Path = "data", noise_words: str | None = None) -> str | None:
    """One sentence on what has to be put where before :func:`read_sentences` works, or None. Touches no network."""
    if pool == UNIFORM_WORDS:
        if noise_words is None or (Path(noise_words).is_file() and holds_vectors(Path(noise_words))):
            return None
        return describe_missing_sentences(noise_words, root)
    path = Path(pool)
    if pool == WIKITEXT:
        place = Path(root) / WIKITEXT_FOLDER
        missing = [name for name in WIKITEXT_FILES if not (place / name).is_file()]
        if not missing:
            return None
        return (
            f"pool {pool} is not complete: put {', '.join(missing)} into {place}/ (unpacked, from wikitext-2-v1.zip), "
            "or give the folder above with --data.init_args.pool_root"
        )
    endings = ", ".join(TEXT_SUFFIXES)
    if path.is_dir():
        return None if _files(path) else f"{path} holds no file of sentences ({endings}, .gz as well); put one there"
    if text_suffix(path) not in TEXT_SUFFIXES:
        return (
            f"{pool!r} is neither {WIKITEXT}, nor {UNIFORM_WORDS}, nor a folder, nor a file of sentences "
            f"({endings}, .gz as well); give one of these"
        )
    return None if path.is_file() else f"{pool} does not exist; put a file of sentences there"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and text_suffix(path) in TEXT_SUFFIXES)


def _sentences(pool: str, root: str | Path) -> Iterator[str]:
    if pool == WIKITEXT:
        return wikitext_sentences(Path(root) / WIKITEXT_FOLDER)
    path = Path(pool)
    return chain.from_iterable(map(_sentences_of_file, _files(path) if path.is_dir() else [path]))


def _sentences_of_file(path: Path) -> Iterator[str]:
    if text_suffix(path) == ".txt":
        return (line for _, line in text_lines(path))
    return (text_field(record, path, line) for line, record in text_records(path))


def _in_memory(pool: str, root: str | Path, chosen: set[int] | None) -> list[str]:
    free, needed = psutil.virtual_memory().available, 0
    sentences: list[str] = []
    for position, sentence in enumerate(_sentences(pool, root)):
        if chosen is not None and position not in chosen:
            continue
        needed += sys.getsizeof(sentence)
        if needed > free:
            raise InputError(
                f"the sentences of pool {pool!r} need more than the {free / 1e9:.1f} GB that are free, the first "
                f"{len(sentences):,} fit; set pool_limit to fewer"
            )
        sentences.append(sentence)
    if not sentences:
        raise InputError(f"pool {pool!r} holds no sentence; give at least one")
    return sentences


def _vocabulary(source: str, root: str | Path) -> list[str]:
    path = Path(source)
    if path.is_file() and holds_vectors(path):
        return read_vectors(path, NOISE_VECTORS).words
    words = WordTokenizer.of_sentences(_sentences(source, root), sys.maxsize).words[len(SPECIAL_WORDS) :]
    if not words:
        raise InputError(f"noise_words {source!r} holds no word; give a file of sentences or of word vectors")
    return words
