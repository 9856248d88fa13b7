import json
from pathlib import Path

import pytest

from lightning_extract.data.draws import Iteration, mix_seed
from lightning_extract.data.sentence_reading import read_sentences
from lightning_extract.data.sentence_stream import SentenceStream
from lightning_extract.errors import InputError


@pytest.fixture(autouse=True)
def _files() -> None:
    for split in ("train", "test"):
        rows = [{"text": f"{split} {i}", "label": i % 2} for i in range(6)]
        Path(f"set_{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("pool.txt").write_text("".join(f"line {i}\n" for i in range(30)))


def test_iterations_and_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    stream = SentenceStream("set", "pool.txt", pool_limit=9, iterations_per_epoch=3)
    assert stream.num_classes == 2
    stream.setup("fit")
    loader = stream.train_dataloader()
    loader.sampler.set_epoch(2)  # type: ignore[attr-defined]
    assert list(loader) == [Iteration(number, mix_seed(7, number)) for number in (6, 7, 8)]
    assert stream.pool.sentences == read_sentences("pool.txt", limit=9, seed=7).sentences
    assert stream.test_set.sentences == [f"test {i}" for i in range(6)]


def test_the_pool_is_read_for_fitting_only() -> None:
    stream = SentenceStream("set", "pool.txt")
    stream.setup("test")
    with pytest.raises(RuntimeError, match="fit"):
        stream.pool  # noqa: B018


def test_noise_and_the_folder_of_the_pool() -> None:
    stream = SentenceStream("set", "uniform_words", pool_limit=4, noise_words="pool.txt", noise_lengths=(3, 3))
    stream.setup("fit")
    assert [len(sentence.split()) for sentence in stream.pool.sentences] == [3, 3, 3, 3]
    (missing,) = SentenceStream("set", "wikitext2", pool_root="elsewhere").describe_missing()
    assert "elsewhere/wikitext-2/" in missing


def test_everything_missing_is_described_at_once() -> None:
    assert SentenceStream("set", "pool.txt").describe_missing() == []
    assert len(SentenceStream("trec", "no.txt").describe_missing()) == 2
    (missing,) = SentenceStream("set", "uniform_words", pool_limit=4, noise_words="no.txt").describe_missing()
    assert missing.startswith("no.txt does not exist")


def test_impossible_arguments() -> None:
    with pytest.raises(InputError, match="iterations_per_epoch is 0"):
        SentenceStream("set", "pool.txt", iterations_per_epoch=0)
    with pytest.raises(InputError, match="set pool_limit"):
        SentenceStream("set", "uniform_words", noise_words="pool.txt")
