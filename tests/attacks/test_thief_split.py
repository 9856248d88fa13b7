"""The two parts of a thief pool, and what is bought of them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_extract.attacks.bought_answers import BoughtAnswers
from lightning_extract.attacks.thief_split import ThiefSplit
from lightning_extract.data.pools import ImagePool
from lightning_extract.errors import InputError


def pool(count: int = 60, brightest: int = 250) -> ImagePool:
    images = torch.arange(count * 4, dtype=torch.int64).remainder(brightest).to(torch.uint8)
    return ImagePool(images.view(count, 1, 2, 2), seed=0)


def test_the_parts_are_apart_and_whole() -> None:
    split = ThiefSplit(pool(), 0.3)
    validation, training = split.validation(18), split.unbought(torch.empty(0, dtype=torch.int64))
    assert len(validation) == 18
    assert len(training) == 42
    assert set(validation.tolist()) | set(training.tolist()) == set(range(60))
    assert torch.equal(training, training.sort().values)


def test_what_is_bought_is_no_candidate_any_more() -> None:
    split = ThiefSplit(pool(), 0.5)
    seed = split.seed(10)
    left = split.unbought(seed)
    assert len(left) == 20
    assert not set(left.tolist()) & set(seed.tolist())


def test_the_run_seed_draws_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for seed in ("0", "0", "1"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        drawn.append(ThiefSplit(pool(), 0.5).validation(30).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("validation", "training", "message"),
    [
        (19, 1, r"budget buys 19 samples to validate by, but the pool of 60 has 18 of them; give a larger pool"),
        (1, 43, r"budget buys 43 samples to train on, but the pool of 60 has 42 of them"),
    ],
)
def test_a_small_pool_is_refused(validation: int, training: int, message: str) -> None:
    split = ThiefSplit(pool(), 0.3)
    split.refuse_if_too_small(18, 42)
    with pytest.raises(InputError, match=message):
        split.refuse_if_too_small(validation, training)


def test_another_pool_is_refused() -> None:
    split = ThiefSplit(pool(), 0.3)
    split.refuse_other_pool(ThiefSplit(pool(), 0.3).fingerprint)
    for other in (pool(61), pool(brightest=200)):
        with pytest.raises(InputError, match="not the one that this run began with"):
            split.refuse_other_pool(ThiefSplit(other, 0.3).fingerprint)


@pytest.mark.parametrize("answers", [torch.tensor([2, 0, 1]), torch.eye(3)[[2, 0, 1]]])
def test_answers_are_kept_in_the_order_of_their_purchase(answers: Tensor, tmp_path: Path) -> None:
    bought = BoughtAnswers("training")
    bought.save(tmp_path)
    bought.add(torch.tensor([7, 3]), answers[:2])
    bought.save(tmp_path)
    bought.add(torch.tensor([5]), answers[2:])
    assert len(bought) == 3
    assert bought.positions.tolist() == [7, 3, 5]
    assert bought.labels.tolist() == [2, 0, 1]
    assert torch.equal(bought.of(torch.tensor([2, 0])), answers[[2, 0]])
    bought.save(tmp_path)
    bought.save(tmp_path)
    segments = {path.stem: path.stat().st_mtime_ns for path in (tmp_path / "bought/training").iterdir()}
    assert segments.keys() == {"000000000000_000000000002", "000000000002_000000000003"}
    again = BoughtAnswers("training")
    again.load(tmp_path, bought.state(), torch.device("cpu"))
    again.load(tmp_path, bought.state(), torch.device("cpu"))
    again.save(tmp_path)
    assert torch.equal(again.positions, bought.positions)
    assert torch.equal(again.of(torch.arange(3)), answers)
    again.add(torch.tensor([1]), answers[:1])
    again.save(tmp_path)
    written = {path.stem: path.stat().st_mtime_ns for path in (tmp_path / "bought/training").iterdir()}
    assert written.keys() - segments.keys() == {"000000000003_000000000004"}
    assert written.items() >= segments.items(), "what was written is not written again"


def test_purchases_of_another_run_are_refused(tmp_path: Path) -> None:
    mine, other = BoughtAnswers("training"), BoughtAnswers("training")
    mine.add(torch.tensor([7, 3]), torch.tensor([0, 1]))
    other.add(torch.tensor([7, 4]), torch.tensor([0, 1]))
    other.save(tmp_path)
    with pytest.raises(
        InputError, match=r"bought/training holds other samples than the checkpoint; restore it or start"
    ):
        BoughtAnswers("training").load(tmp_path, mine.state(), torch.device("cpu"))
