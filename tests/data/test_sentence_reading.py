import gzip
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from lightning_extract.data.sentence_pool import SentencePool
from lightning_extract.data.sentence_reading import describe_missing_sentences, read_sentences
from lightning_extract.errors import InputError

SENTENCES = [f"sentence number {i} ." for i in range(20)]

PARAGRAPHS = """ \n = Homarus = \n \n The film cost 3 @.@ 5 million . H. gammarus " lives " here ! \
Who wrote it ? He said " no . " \n\n = = Life cycle = = \n \n <unk> of E = m c is known . Yes . \n A list :\n"""


def write_wikitext() -> None:
    Path("data/wikitext-2").mkdir(parents=True)
    for part in ("train", "valid", "test"):
        Path(f"data/wikitext-2/wiki.{part}.tokens").write_text(PARAGRAPHS.replace("Homarus", part))


def sentences(pool: str, **choice: Any) -> list[str]:
    return list(read_sentences(pool, **choice).sentences)


def test_a_pool_gives_sentences_by_position() -> None:
    pool = SentencePool(["a", "b", "a"])
    assert pool.size == 3
    assert pool.queries(torch.tensor([2, 1, 1])) == ["a", "b", "b"]
    assert pool.queries(torch.tensor([], dtype=torch.int64)) == []
    with pytest.raises(InputError, match="at least one sentence"):
        SentencePool([])


def test_wikitext() -> None:
    write_wikitext()
    part = [
        "The film cost 3 @.@ 5 million .",
        'H. gammarus " lives " here !',
        "Who wrote it ?",
        'He said " no .',
        "<unk> of E = m c is known .",
        "A list :",
    ]
    assert sentences("wikitext2") == 3 * part
    Path("data/wikitext-2/wiki.valid.tokens").unlink()
    assert "put wiki.valid.tokens into data/wikitext-2/" in str(describe_missing_sentences("wikitext2"))


def write_pools() -> list[str]:
    lines = "\n".join(SENTENCES)
    records = "\n".join(json.dumps({"text": sentence, "group": 1}) for sentence in SENTENCES)
    table = "group,text\n" + "\n".join(f'x,"{sentence}"' for sentence in SENTENCES)
    contents = {"pool.txt": lines, "pool.jsonl": records, "pool.csv": table}
    for name, content in contents.items():
        Path(name).write_text(content)
        Path(f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    Path("folder").mkdir()
    Path("folder/b.jsonl").write_text("\n".join(records.splitlines()[5:]))
    Path("folder/a.txt.gz").write_bytes(gzip.compress("\n".join(SENTENCES[:5]).encode()))
    Path("folder/README.md").write_text("nothing")
    return [*contents, *(f"{name}.gz" for name in contents), "folder"]


@pytest.mark.parametrize("number", range(7))
def test_files(number: int) -> None:
    pool = write_pools()[number]
    assert sentences(pool) == SENTENCES
    assert describe_missing_sentences(pool) is None


def test_duplicates_stay() -> None:
    Path("pool.txt").write_text("a b\na b\n")
    assert sentences("pool.txt") == ["a b", "a b"]


def test_a_limit_is_a_choice_by_the_seed() -> None:
    write_pools()
    counts: Counter[str] = Counter()
    for seed in range(200):
        choice = sentences("pool.txt", limit=6, seed=seed)
        assert choice == sorted(choice, key=SENTENCES.index)
        assert len(set(choice)) == 6
        counts.update(choice)
    assert sentences("pool.jsonl", limit=6, seed=199) == choice
    assert all(abs(counts[sentence] - 60) < 5 * (200 * 0.3 * 0.7) ** 0.5 for sentence in SENTENCES)
    assert sentences("pool.txt", limit=20) == sentences("pool.txt", limit=1000) == SENTENCES


def test_random_words_are_uniform() -> None:
    Path("words.txt").write_text("the film . The end\n<unk> film")
    found = sentences("uniform_words", limit=4000, seed=3, noise_words="words.txt", noise_lengths=(2, 5))
    assert len(found) == 4000
    lengths = Counter(len(sentence.split()) for sentence in found)
    assert sorted(lengths) == [2, 3, 4, 5]
    assert all(abs(count - 1000) < 5 * (4000 * 0.25 * 0.75) ** 0.5 for count in lengths.values())
    words = Counter(word for sentence in found for word in sentence.split())
    total = sum(words.values())
    assert set(words) == {"the", "film", ".", "end"}
    assert all(abs(count - total / 4) < 5 * (total * 0.25 * 0.75) ** 0.5 for count in words.values())


def test_random_words_follow_the_seed() -> None:
    Path("words.csv").write_text("text\n" + " ".join(f"w{i}" for i in range(100)))
    choices = [sentences("uniform_words", limit=5, seed=seed, noise_words="words.csv") for seed in (0, 0, 1)]
    assert choices[0] == choices[1] != choices[2]


def test_random_words_of_vectors() -> None:
    Path("glove.txt").write_text("".join(f"{word} {' '.join('0.5' for _ in range(12))}\n" for word in ("one", "two")))
    words = {word for sentence in sentences("uniform_words", limit=50, noise_words="glove.txt")
             for word in sentence.split()}  # fmt: skip
    assert words == {"one", "two"}


@pytest.mark.parametrize(
    ("pool", "choice", "message"),
    [
        ("pool.txt", {"limit": 0}, "pool_limit is 0; give at least 1 sentence, or null for all"),
        ("uniform_words", {"noise_words": "pool.txt"}, "'uniform_words' has as many sentences .*; set pool_limit"),
        ("uniform_words", {"limit": 5}, "needs a vocabulary; set noise_words"),
        ("uniform_words", {"limit": 5, "noise_words": "uniform_words"}, "which has no vocabulary"),
        ("uniform_words", {"limit": 5, "noise_words": "no.txt"}, "^no.txt does not exist"),
        ("uniform_words", {"limit": 5, "noise_words": "unknown.txt"}, "noise_words 'unknown.txt' holds no word"),
        ("pool.txt", {"noise_words": "pool.txt"}, "but pool 'pool.txt' is no noise; remove it"),
        ("pool.txt", {"noise_lengths": (0, 5)}, r"noise_lengths is \[0, 5\]"),
        ("pool.txt", {"noise_lengths": (6, 5)}, r"noise_lengths is \[6, 5\]"),
        ("no.jsonl", {}, "^no.jsonl does not exist; put a file of sentences there"),
        ("pool.pdf", {}, "'pool.pdf' is neither wikitext2, nor uniform_words, nor a folder, nor a file"),
        ("empty", {}, r"^empty holds no file of sentences \(.txt, .jsonl, .csv, .gz as well\)"),
        ("empty.txt", {}, "pool 'empty.txt' holds no sentence; give at least one"),
        ("empty.txt", {"limit": 3}, "pool 'empty.txt' holds no sentence"),
        ("gap.txt", {}, "^gap.txt, line 2 is empty; remove it"),
        ("wikitext2", {}, r"put wiki.train.tokens, wiki.valid.tokens, wiki.test.tokens into data/wikitext-2/"),
    ],
)
def test_mistakes_are_named(pool: str, choice: dict[str, Any], message: str) -> None:
    Path("empty").mkdir()
    for name, content in {"pool.txt": "a", "empty.txt": "", "unknown.txt": "<unk>", "gap.txt": "a\n\nb"}.items():
        Path(name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_sentences(pool, **choice)


def test_a_pool_beyond_the_free_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    write_pools()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=5 * 80))
    assert len(sentences("pool.txt", limit=5)) == 5
    with pytest.raises(InputError, match=r"the sentences of pool 'pool.txt' need more .* free, .*; set pool_limit"):
        read_sentences("pool.txt")
