import os
import re
import runpy
import sys
from collections import Counter

import pytest
import torch

from lightning_extract.data import words
from lightning_extract.data.words import WordTokenizer
from lightning_extract.errors import InputError

SENTENCES = ["The film, the best film!", "a <unk> film", "Isn't it the Best ?", "zebra apple naïve café"]


def slow_words(sentence: str, lowercase: bool = True) -> list[str]:
    return re.findall(r"<unk>|\w+|[^\w\s]", sentence.lower() if lowercase else sentence)


def test_words_are_ordered_by_frequency_and_then_alphabet() -> None:
    counts = Counter(word for sentence in SENTENCES for word in slow_words(sentence) if word != "<unk>")
    expected = ["<pad>", "<unk>", *sorted(counts, key=lambda word: (-counts[word], word))]
    assert WordTokenizer.of_sentences(SENTENCES, 1000).words == expected
    assert WordTokenizer.of_sentences(SENTENCES, 5).words == expected[:5]
    assert WordTokenizer.of_sentences(reversed(SENTENCES), 1000).words == expected
    assert len(WordTokenizer.of_sentences(SENTENCES, 5)) == 5


@pytest.mark.parametrize("lowercase", [True, False])
def test_encoding_equals_a_slow_one(lowercase: bool) -> None:
    tokenizer = WordTokenizer.of_sentences(SENTENCES, 12, lowercase)
    found = tokenizer.encode(SENTENCES, 6)
    assert found.dtype == torch.int64
    for row, sentence in zip(found.tolist(), SENTENCES, strict=True):
        numbers = [
            tokenizer.words.index(word) if word in tokenizer.words else 1 for word in slow_words(sentence, lowercase)
        ]
        assert row == (numbers + 6 * [0])[:6]


def test_special_words() -> None:
    tokenizer = WordTokenizer.of_sentences(["<pad> <unk> pad unk"], 100)
    assert tokenizer.words == ["<pad>", "<unk>", "pad", "<", ">", "unk"]
    assert tokenizer.encode(["<unk> <UNK> nothing", "<pad>", " "], 3).tolist() == [[1, 1, 1], [3, 2, 4], [0, 0, 0]]
    assert tokenizer.encode([], 3).shape == (0, 3)


def test_more_words_fill_the_places_left() -> None:
    more = ["beta", "film", "New_York", "two words", "it's", "Alpha", "alpha", "beta", "<unk>", "gamma"]
    words = ["<pad>", "<unk>", "film"]
    assert WordTokenizer.of_sentences(["film"], 6, more_words=more).words == [*words, "beta", "alpha", "gamma"]
    assert WordTokenizer.of_sentences(["film"], 5, more_words=more).words == [*words, "beta", "alpha"]
    cased = WordTokenizer.of_sentences(["film"], 100, lowercase=False, more_words=more).words
    assert cased == [*words, "beta", "New_York", "Alpha", "alpha", "gamma"]


def test_json_holds_everything() -> None:
    for lowercase in (True, False):
        tokenizer = WordTokenizer.of_sentences(SENTENCES, 12, lowercase)
        again = WordTokenizer.from_json(tokenizer.to_json(), "tokenizer.json")
        assert again.words == tokenizer.words
        assert again.to_json() == tokenizer.to_json()
        assert torch.equal(again.encode([*SENTENCES, "THE new"], 7), tokenizer.encode([*SENTENCES, "THE new"], 7))


def damaged() -> list[str]:
    text = WordTokenizer.of_sentences(["a film"], 10).to_json()
    return [
        "",
        "{}",
        "[1]",
        text[:-1],
        text.replace('"<pad>":0', '"<pad>":1'),
        text.replace('"film":3', '"film":7'),
        text.replace("WordLevel", "WordPiece"),
        text.replace('"unk_token"', '"other"'),
    ]


@pytest.mark.parametrize("number", range(8))
def test_other_texts_are_refused(number: int) -> None:
    with pytest.raises(InputError, match=r"^kept/tokenizer.json holds (no tokenizer|a tokenizer of another kind)"):
        WordTokenizer.from_json(damaged()[number], "kept/tokenizer.json")


def test_impossible_sizes() -> None:
    with pytest.raises(InputError, match=r"a vocabulary of 2 has no place .* at least 3"):
        WordTokenizer.of_sentences(SENTENCES, 2)
    with pytest.raises(InputError, match="sentences of 0 words"):
        WordTokenizer.of_sentences(SENTENCES, 9).encode(SENTENCES, 0)


def test_the_library_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    runpy.run_path(words.__file__)  # the module itself does without
    with pytest.raises(InputError, match=r"tokenizers, which is missing: pip install 'lightning_extract\[text\]'"):
        WordTokenizer.of_sentences(SENTENCES, 9)


@pytest.mark.parametrize(("before", "after"), [(None, "false"), ("true", "true")])
def test_the_library_starts_no_threads_unless_asked(
    before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "restored at the end")
    if before is None:
        monkeypatch.delenv("TOKENIZERS_PARALLELISM")
    else:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", before)
    WordTokenizer.of_sentences(SENTENCES, 9).encode(SENTENCES, 5)
    assert os.environ["TOKENIZERS_PARALLELISM"] == after
