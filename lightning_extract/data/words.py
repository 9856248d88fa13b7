"""Words as numbers: the vocabulary that texts are read with, on top of the tokenizers library."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_extract.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PADDING, UNKNOWN = 0, 1
SPECIAL_WORDS = ("<pad>", "<unk>")
# Runs of letters, digits and underscores, and every other sign by itself; WikiText writes its rare words <unk>.
WORD_PATTERN = r"<unk>|\w+|[^\w\s]"


class WordTokenizer:
    """Sentences to word numbers: words and punctuation marks, each with a number of its own.

    The number 0 fills short sentences up, and 1 stands for every word outside the vocabulary, as does the text
    ``<unk>``.

    Args:
        tokenizer: A word-level tokenizer of the library; made by ``of_sentences`` or ``from_json``.

    Example:
        >>> tokenizer = WordTokenizer.of_sentences(["A good film.", "a bad film"], size=5)
        >>> tokenizer.words
        ['<pad>', '<unk>', 'a', 'film', '.']
        >>> tokenizer.encode(["A film!"], length=4)
        tensor([[2, 3, 1, 0]])
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer
        numbers = tokenizer.get_vocab(with_added_tokens=False)
        self.words: list[str] = sorted(numbers, key=numbers.__getitem__)

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def of_sentences(
        cls, sentences: Iterable[str], size: int, lowercase: bool = True, more_words: Sequence[str] = ()
    ) -> "WordTokenizer":
        """A vocabulary of the most frequent words, equally frequent ones in alphabetical order.

        Args:
            sentences: Where the words are counted.
            size: Most numbers, the two special ones included.
            lowercase: Whether capitals are read as small letters.
            more_words: Words that fill the places left, in this order; those that the tokenizer would split or change
                are left out.

        Raises:
            InputError: There is no place beside the special words, or the library is missing.
        """
        if size <= len(SPECIAL_WORDS):
            raise InputError(
                f"a vocabulary of {size} has no place for a word beside padding and unknown; "
                f"set its size to at least {len(SPECIAL_WORDS) + 1}."
            )
        empty = _word_level(SPECIAL_WORDS, lowercase)
        counts = Counter(word for sentence in sentences for word in _split(empty, sentence))
        words = dict.fromkeys(SPECIAL_WORDS)
        frequent = sorted(counts, key=lambda word: (-counts[word], word))
        for word in chain(frequent, _whole_words(empty, more_words)):
            if len(words) == size:
                break
            words[word] = None
        return cls(_word_level(list(words), lowercase))

    @classmethod
    def from_json(cls, text: str, source: str) -> "WordTokenizer":
        """The tokenizer that ``to_json`` wrote.

        Args:
            text: What ``to_json`` returned.
            source: Where the text is from, for the error message.

        Raises:
            InputError: The text is no word tokenizer of this form, or the library is missing.
        """
        library = _require_tokenizers()
        try:
            model = json.loads(text)["model"]
            special = [model["vocab"].get(word) for word in SPECIAL_WORDS]
            known = model["type"] == "WordLevel" and special == [PADDING, UNKNOWN]
            complete = sorted(model["vocab"].values()) == list(range(len(model["vocab"])))
            tokenizer = library.Tokenizer.from_str(text) if known and complete else None
        except Exception as error:  # the library raises no narrower type
            raise InputError(f"{source} holds no tokenizer ({error}); give a file that was saved with one.") from None
        if tokenizer is None:
            raise InputError(
                f"{source} holds a tokenizer of another kind, not numbered words with {SPECIAL_WORDS[PADDING]} as "
                f"{PADDING} and {SPECIAL_WORDS[UNKNOWN]} as {UNKNOWN}; give a file that was saved with one."
            )
        return cls(tokenizer)

    def to_json(self) -> str:
        """The whole tokenizer as text, in the library's format."""
        return self._tokenizer.to_str()

    def encode(self, sentences: Sequence[str], length: int) -> Tensor:
        """Word numbers; longer sentences are cut at the end, shorter ones filled up with 0.

        Args:
            sentences: Raw sentences.
            length: Words of each row.

        Shape:
            ``(B, length)``, int64.

        Raises:
            InputError: The length is below 1.
        """
        if length < 1:
            raise InputError(f"sentences of {length} words hold nothing; set their length to at least 1.")
        rows = []
        for encoding in self._tokenizer.encode_batch_fast(list(sentences), add_special_tokens=False):
            ids = encoding.ids[:length]
            rows.append(ids + [PADDING] * (length - len(ids)))
        return torch.tensor(rows, dtype=torch.int64).view(len(rows), length)


def _require_tokenizers() -> ModuleType:
    # A library that starts threads of its own warns, or hangs, when the process forks later.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import tokenizers
    except ImportError:
        raise InputError(
            "texts need the package tokenizers, which is missing: pip install 'lightning_extract[text]'"
        ) from None
    return tokenizers


def _word_level(words: Sequence[str], lowercase: bool) -> "Tokenizer":
    library = _require_tokenizers()
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer: Tokenizer = library.Tokenizer(library.models.WordLevel(vocabulary, unk_token=SPECIAL_WORDS[UNKNOWN]))
    tokenizer.normalizer = library.normalizers.Sequence([library.normalizers.Lowercase()] if lowercase else [])
    pattern = library.Regex(WORD_PATTERN)
    tokenizer.pre_tokenizer = library.pre_tokenizers.Split(pattern, behavior="removed", invert=True)
    return tokenizer


def _split(tokenizer: "Tokenizer", text: str) -> list[str]:
    text = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def _whole_words(tokenizer: "Tokenizer", words: Sequence[str]) -> Iterator[str]:
    return (word for word in words if _split(tokenizer, word) == [word])
