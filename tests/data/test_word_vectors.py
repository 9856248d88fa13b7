import gzip
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch import Tensor

from lightning_extract.data.word_vectors import WordVectors, fill_embedding, holds_vectors, read_vectors
from lightning_extract.data.words import WordTokenizer
from lightning_extract.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

WORDS = ["the", "film", "Paris", "café"]
DIMENSION = 12


def values() -> Tensor:
    return torch.randn(len(WORDS), DIMENSION, generator=torch.Generator().manual_seed(0))


def text_form(header: bool = True) -> bytes:
    rows = [f"{word} {' '.join(map(repr, row))}" for word, row in zip(WORDS, values().tolist(), strict=True)]
    return "\n".join(([f"{len(WORDS)} {DIMENSION}"] if header else []) + rows).encode() + b"\n"


def binary_form() -> bytes:
    rows = [
        word.encode() + b" " + struct.pack(f"<{DIMENSION}f", *row) + b"\n"
        for word, row in zip(WORDS, values().tolist(), strict=True)
    ]
    return f"{len(WORDS)} {DIMENSION}\n".encode() + b"".join(rows)


FORMS = {"text": text_form(), "glove": text_form(header=False), "binary": binary_form()}


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".bin", ".txt", ".vec"])
def test_the_content_tells_the_format(form: str, suffix: str, packed: str) -> None:
    path = Path(f"vectors{suffix}{packed}")
    path.write_bytes(gzip.compress(FORMS[form]) if packed else FORMS[form])
    assert holds_vectors(path)
    vectors = read_vectors(path)
    assert vectors.words == WORDS
    torch.testing.assert_close(vectors.values, values())
    first = read_vectors(path, limit=2)
    assert first.words == WORDS[:2]
    torch.testing.assert_close(first.values, values()[:2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (binary_form()[:-20], "cannot be read as word vectors"),
        (text_form()[:-150], "cannot be read as word vectors"),
        (text_form().replace(f"4 {DIMENSION}".encode(), f"4 {DIMENSION + 1}".encode()), "cannot be read as word"),
        (text_form().replace(b"film ", b"film x "), "cannot be read as word vectors"),
        (b"the " + b"nan " * 11 + b"nan\n", "some that are no numbers"),
        (b"A sentence of 3 words .\n", "holds no word vectors in word2vec's or GloVe's format"),
        (b"", "holds no word vectors in"),
        (b"0 12\n", "holds no word vectors|cannot be read"),
        (b"\x80\x04\x95\x00\x00", "holds no word vectors in"),
    ],
)
def test_damaged_files(content: bytes, message: str) -> None:
    Path("vectors.vec").write_bytes(content)
    with pytest.raises(InputError, match=f"^vectors.vec .*({message})"):
        read_vectors("vectors.vec")


def test_files_that_cannot_be_opened() -> None:
    Path("vectors.vec.gz").write_bytes(gzip.compress(text_form())[:60])
    for name in ("vectors.vec.gz", "missing.vec", "."):
        with pytest.raises(InputError, match="cannot be read"):
            read_vectors(name)


def test_sizes_beyond_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("vectors.vec").write_bytes(text_form())
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2 * DIMENSION * 4))
    assert len(read_vectors("vectors.vec", limit=2).words) == 2
    with pytest.raises(InputError, match="announces 4 vectors of 12 numbers"):
        read_vectors("vectors.vec")
    with pytest.raises(InputError, match="0 word vectors are none"):
        read_vectors("vectors.vec", limit=0)


def test_a_sentence_is_no_vector() -> None:
    for line in ("In 1990 1991 1992 they won .", "10 20 30", "word"):
        Path("pool.txt").write_text(line)
        assert not holds_vectors(Path("pool.txt"))


def test_known_words_get_their_vectors() -> None:
    tokenizer = WordTokenizer.of_sentences(["film the paris zebra café"], 100)
    assert tokenizer.words[2:] == ["café", "film", "paris", "the", "zebra"]
    weight = torch.empty(7, DIMENSION).uniform_(-0.25, 0.25, generator=torch.Generator().manual_seed(1))
    weight[0] = 0.0
    before = weight.clone()
    assert fill_embedding(weight, tokenizer, WordVectors(WORDS, values())) == 3
    assert torch.equal(weight[[2, 3, 5]], values()[[3, 1, 0]])
    assert torch.equal(weight[0], torch.zeros(DIMENSION))
    others = [1, 4, 6]  # Paris has a vector, paris none
    ratio = weight[others] / before[others]
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
    torch.testing.assert_close(weight[others].std(), values().std())


def test_an_embedding_that_learns_can_be_filled() -> None:
    tokenizer = WordTokenizer.of_sentences(["film the"], 100)
    embedding = torch.nn.Embedding(4, DIMENSION, padding_idx=0)
    assert fill_embedding(embedding.weight, tokenizer, WordVectors(WORDS, values())) == 2
    assert embedding.weight.requires_grad
    assert torch.equal(embedding.weight[2], values()[1])


def test_no_known_word() -> None:
    tokenizer = WordTokenizer.of_sentences(["zebra"], 100)
    assert fill_embedding(torch.randn(3, DIMENSION), tokenizer, WordVectors(WORDS, values())) == 0


@pytest.mark.parametrize("shape", [(4, DIMENSION + 1), (5, DIMENSION)])
def test_sizes_must_fit(shape: tuple[int, int]) -> None:
    tokenizer = WordTokenizer.of_sentences(["film the"], 100)
    with pytest.raises(InputError, match=f"set embedding_dim to {DIMENSION}"):
        fill_embedding(torch.zeros(shape), tokenizer, WordVectors(WORDS, values()))


def test_the_library_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("vectors.vec").write_bytes(text_form())
    monkeypatch.setitem(sys.modules, "gensim", None)
    with pytest.raises(InputError, match=r"gensim, which is missing: pip install 'lightning_extract\[text\]'"):
        read_vectors("vectors.vec")
