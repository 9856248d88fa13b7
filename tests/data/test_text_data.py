import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_extract.data.evaluation_batches import LabelledBatch
from lightning_extract.data.text_data import TextData
from lightning_extract.data.text_evaluation import TextEvaluationData
from lightning_extract.data.validation_split import validation_split
from lightning_extract.errors import InputError


@pytest.fixture(autouse=True)
def _files() -> None:
    for split, count in (("train", 40), ("test", 11)):
        rows = [{"text": f"{split} {i}", "label": i % 3} for i in range(count)]
        Path(f"set_{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def sentences(loader: DataLoader[LabelledBatch]) -> list[str]:
    found = []
    for batch, labels in loader:
        assert isinstance(batch, list)
        assert labels.dtype == torch.int64
        assert [int(sentence.split()[1]) % 3 for sentence in batch] == labels.tolist()
        found += batch
    return found


def fitted(**arguments: float) -> TextData:
    data = TextData("set", batch_size=8, **arguments)  # type: ignore[arg-type]
    data.setup("fit")
    return data


def test_evaluation_reads_the_test_set_in_order() -> None:
    data = TextEvaluationData("set", eval_batch_size=4)
    assert data.num_classes == 3
    with pytest.raises(RuntimeError, match="setup"):
        data.test_set  # noqa: B018
    data.setup("test")
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert sentences(loader) == [f"test {i}" for i in range(11)]


def test_training_order_follows_seed_and_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    data = fitted()

    def order(seed: int, epoch: int) -> list[str]:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return sentences(loader)

    assert sorted(order(1, 0)) == sorted(f"train {i}" for i in range(40))
    assert order(1, 3) == order(1, 3)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_training_set_is_read_for_fitting_only() -> None:
    data = TextData("set")
    data.setup("test")
    with pytest.raises(RuntimeError, match="fit"):
        data.train_dataloader()


def test_without_a_share_the_test_set_validates() -> None:
    data = fitted()
    assert sentences(data.val_dataloader()) == [f"test {i}" for i in range(11)]
    with pytest.raises(RuntimeError, match="validation_share"):
        data.validation_set  # noqa: B018


def test_a_share_is_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    data = fitted(validation_share=0.2)
    validation = sentences(data.val_dataloader())
    assert (len(validation), len(data.train_set)) == (8, 32)
    assert {*validation, *data.train_set.sentences} == {f"train {i}" for i in range(40)}
    assert set(sentences(data.train_dataloader())) == set(data.train_set.sentences)
    assert sentences(data.test_dataloader()) == [f"test {i}" for i in range(11)]
    assert validation == fitted(validation_share=0.2).validation_set.sentences
    alone = TextData("set", validation_share=0.2)
    alone.setup("validate")
    assert sentences(alone.val_dataloader()) == validation
    monkeypatch.setenv("PL_GLOBAL_SEED", "6")
    assert validation != fitted(validation_share=0.2).validation_set.sentences


def test_every_sample_validates_equally_often() -> None:
    counts: Counter[int] = Counter()
    for seed in range(300):
        train, kept_apart = validation_split(20, 0.3, seed)
        assert sorted(train.tolist() + kept_apart.tolist()) == list(range(20))
        assert len(kept_apart) == 6
        counts.update(kept_apart.tolist())
    assert all(abs(counts[i] - 90) < 5 * (300 * 0.3 * 0.7) ** 0.5 for i in range(20))


def test_a_share_that_leaves_nothing() -> None:
    with pytest.raises(InputError, match=r"validation_share 0\.999 leaves none of 40 training samples"):
        fitted(validation_share=0.999)


@pytest.mark.parametrize(
    ("count", "share", "kept_apart"), [(9596, 0.2, 1920), (60_000, 0.2, 12_000), (100, 0.07, 7), (40, 0.001, 1)]
)
def test_sizes_of_the_parts(count: int, share: float, kept_apart: int) -> None:
    train, apart = validation_split(count, share, 0)
    assert (len(train), len(apart)) == (count - kept_apart, kept_apart)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"eval_batch_size": 0}, "eval_batch_size is 0"),
        ({"validation_share": 1.0}, r"validation_share is 1\.0"),
        ({"validation_share": -0.1}, r"validation_share is -0\.1"),
    ],
)
def test_impossible_arguments(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TextData("set", **arguments)


def test_missing_data_is_described_not_raised() -> None:
    assert TextData("set").describe_missing() == []
    (missing,) = TextData("mr").describe_missing()
    assert "rt-polaritydata.tar.gz" in missing
