"""ActiveThief's rounds: what they buy, how they begin and end, and what a checkpoint keeps of them."""

import csv
import json
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lightning_extract.attacks import ActiveThief, activethief, round_candidates
from lightning_extract.attacks.bought_answers import BoughtAnswers
from lightning_extract.attacks.round_state import RoundState
from lightning_extract.attacks.settings import CloneTraining
from lightning_extract.attacks.thief_split import ThiefSplit
from lightning_extract.data.draws import Iteration, IterationDraws
from lightning_extract.data.pools import ImagePool
from lightning_extract.networks import CLASSIFIERS
from lightning_extract.oracle import VictimOracle
from tests.float64_start import tiny_classifier
from tests.miniature import config_of, fit
from tests.stand_ins import stand_in_trainer, threat_model
from tests.state import assert_same_state, final_state

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning's use of jsonargparse

CONFIG = config_of(ActiveThief)
MEASURED = ["--model.selection.deepfool.candidates", "100", "--model.selection.survivors", "90"]
DIGITS = ["--data.pool", "mnist5k", "--data.pool_limit", "400", "--model.rounds.count", "2", *MEASURED]
STRATEGIES = "--model.selection.strategies"
KCENTER = [*DIGITS, STRATEGIES, "[kcenter]"]
DROPPING = ["--model.clone_training.network", "dropping", "--model.dropout", "0.3"]
VALIDATION, SEED, SELECTED = 41, 20, 71


def dropping_classifier(num_classes: int, channels: int, image_size: int) -> nn.Module:
    """A small network with batch normalisation that draws itself."""
    return nn.Sequential(nn.Dropout(), tiny_classifier(num_classes, channels, image_size))


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLASSIFIERS, "dropping", dropping_classifier)


def rows(run: str = "run") -> list[dict[str, str]]:
    with Path(run, "metrics.csv").open() as table:
        return list(csv.DictReader(table))


def weights(attack: ActiveThief) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in attack.clones.state_dict().items()}


def assert_same_weights(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def differ(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return not all(torch.equal(value, expected[name]) for name, value in found.items())


# What is bought.


def test_every_sample_is_bought_once_and_from_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Tensor]] = []
    query = VictimOracle.query

    def remember(self: VictimOracle, samples: Tensor, phase: str, total: int | None = None) -> Tensor:
        asked.append((phase, samples.clone()))
        return query(self, samples, phase, total)

    monkeypatch.setattr(VictimOracle, "query", remember)
    model = fit(CONFIG, "run", *DIGITS).model
    training, validation = model.training_set.positions, model.validation_set.positions
    assert len(set(training.tolist()) | set(validation.tolist())) == VALIDATION + SEED + 2 * SELECTED
    split = ThiefSplit(model.pool, 1 / 3)
    trainable = set(split.unbought(torch.empty(0, dtype=torch.int64)).tolist())
    assert len(trainable) == split.size - round(split.size / 3)
    assert set(training.tolist()) <= trainable
    assert not trainable & set(validation.tolist())
    assert [(phase, len(samples)) for phase, samples in asked] == [
        ("validation", VALIDATION),
        ("seed", SEED),
        ("selected", SELECTED),
        ("selected", SELECTED),
    ]
    assert model.ledger.by_phase == {"validation": VALIDATION, "seed": SEED, "selected": 2 * SELECTED}
    assert model.ledger.spent == model.oracle.answered == 203
    # The answers belong to the very samples at those positions.
    assert torch.equal(asked[0][1], model.pool.queries(validation))
    assert torch.equal(torch.cat([samples for _, samples in asked[1:]]), model.pool.queries(training))
    for bought in (model.training_set, model.validation_set):
        again = model.oracle.reference(model.pool.queries(bought.positions))
        torch.testing.assert_close(bought.answers, again, rtol=1e-4, atol=1e-6)


def test_sizes_of_batches_that_bound_the_memory_change_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    # Hard access: a victim's probabilities for other batches differ by their rounding.
    hard = [*KCENTER, "--model.threat_model.access", "hard"]
    whole = fit(CONFIG, "whole", *hard).model
    monkeypatch.setattr(activethief, "PURCHASE_BATCH", 7)
    monkeypatch.setattr(round_candidates, "PREDICTION_BATCH", 64)
    split = fit(CONFIG, "split", *hard).model
    assert split.training_set.positions.tolist() == whole.training_set.positions.tolist()
    assert torch.equal(split.training_set.answers, whole.training_set.answers)
    assert (whole.training_set.answers.shape, whole.training_set.answers.dtype) == ((SEED + 2 * SELECTED,), torch.int64)
    assert split.ledger.by_phase == whole.ledger.by_phase
    assert_same_weights(weights(split), weights(whole))


@pytest.mark.parametrize("rank", [0, 1])
def test_no_process_is_left_out_of_a_purchase(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int | None]] = []

    class Recorder:
        def query(self, samples: Tensor, phase: str, total: int | None = None) -> Tensor:
            asked.append((len(samples), total))
            return torch.zeros(len(samples), dtype=torch.int64)

    monkeypatch.setattr(activethief, "gather_shares", lambda share, count: torch.zeros(count, dtype=torch.int64))
    pool = ImagePool(torch.zeros(1030, 1, 32, 32, dtype=torch.uint8), seed=0)
    attack: Any = ActiveThief(threat_model(), CloneTraining(network="lenet5_half", heldout_every=0), dropout=None)
    attack.trainer = stand_in_trainer(world_size=2, datamodule=SimpleNamespace(pool=pool))
    attack.draws, attack.oracle = IterationDraws(0, rank, 2, torch.device("cpu")), Recorder()
    bought = BoughtAnswers("training")
    attack.purchase(bought, torch.arange(activethief.PURCHASE_BATCH + 1), "seed")  # one more than fits into a batch
    assert bought.positions.tolist() == list(range(1025))
    assert sum(total or 0 for _, total in asked) == 1025
    assert min(mine for mine, _ in asked) > 0, "a victim cannot be asked for no sample"


@pytest.mark.parametrize(
    ("strategies", "more"),
    [
        ("[adversarial]", ["--model.selection.deepfool.variant", "official"]),
        ("[random,adversarial]", ["--model.selection.survivors", "90"]),
        ("[uncertainty,kcenter]", ["--model.selection.survivors", "90"]),
        ("[kcenter,uncertainty]", ["--model.selection.survivors", "80"]),
    ],
)
def test_chains_and_variants_spend_the_budget(strategies: str, more: list[str]) -> None:
    fit(CONFIG, "run", *DIGITS, STRATEGIES, strategies, *more)
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["queries"]["by_phase"] == {"validation": VALIDATION, "seed": SEED, "selected": 2 * SELECTED}


def test_strategies_choose_differently() -> None:
    names = "random", "uncertainty", "kcenter"
    models = [fit(CONFIG, f"run_{name}", *DIGITS, STRATEGIES, f"[{name}]").model for name in names]
    assert all(model.ledger.by_phase["selected"] == 2 * SELECTED for model in models)
    assert len({tuple(model.training_set.positions[:SEED].tolist()) for model in models}) == 1
    assert len({frozenset(model.training_set.positions.tolist()) for model in models}) == 3


def test_a_single_training_buys_everything_at_once() -> None:
    model = fit(CONFIG, "run", "--data.pool", "mnist5k", "--model.rounds.count", "0").model
    assert model.ledger.by_phase == {"validation": VALIDATION, "seed": 203 - VALIDATION}
    assert {(row["queries"], row["round"]) for row in rows()} == {("203", "0")}
    assert rows()[-1]["round_end"] == "1"
    assert json.loads(Path("run/summary.json").read_text())["status"] == "finished"


def digits_by_class(folder: Path, first_class: int) -> Path:
    """Images 0 to 299, the first so many of which are one class and the others another."""
    random = np.random.default_rng(0)
    for position in range(300):
        place = folder / "train" / ("a" if position < first_class else "b")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (32, 32), np.uint8)).save(place / f"{position:03d}.png")
    return folder


def test_labels_of_the_pool_change_nothing() -> None:
    runs = []
    for first_class in (60, 200):
        folder = digits_by_class(Path(f"pool_{first_class}"), first_class)
        fit(CONFIG, f"run_{first_class}", *KCENTER[4:], "--data.pool", str(folder))
        runs.append(final_state(Path(f"run_{first_class}")))
    assert_same_state(runs[0], runs[1])


# How a round begins and ends.


def test_every_round_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[dict[str, Tensor]] = []
    before: list[dict[str, Tensor]] = []
    train_epoch, restart = ActiveThief.train_epoch, ActiveThief.restart_clones

    def remember(self: ActiveThief) -> None:
        before.append(weights(self))
        restart(self)

    def watch(self: ActiveThief, seed: int) -> float:
        optimizer = self.optimizer_list[0].optimizer
        if self.round.epochs == 0:
            starts.append(weights(self))
            assert not optimizer.state
        else:
            assert optimizer.state
        return train_epoch(self, seed)

    monkeypatch.setattr(ActiveThief, "restart_clones", remember)
    monkeypatch.setattr(ActiveThief, "train_epoch", watch)
    model = fit(CONFIG, "run", *KCENTER, *DROPPING).model
    assert len(starts) == 3
    for start in starts[1:]:
        assert_same_weights(start, starts[0])
    for trained in [*before[1:], weights(model)]:
        assert differ(trained, starts[0])


@pytest.mark.parametrize("interval", [1, 5])
def test_a_round_ends_with_its_best_weights_and_then_idles(interval: int, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs: list[tuple[int, float, dict[str, Tensor]]] = []  # round, F1 and weights after each epoch
    ends: dict[int, dict[str, Tensor]] = {}
    idle: list[int] = []
    step, note = ActiveThief.training_step, RoundState.note_epoch

    def remember(self: Any, score: float, loss: float, clones: nn.Module) -> None:
        epochs.append((self.number, score, deepcopy(clones.state_dict())))
        note(self, score, loss, clones)

    def watch(self: ActiveThief, iteration: Iteration, batch_idx: int) -> None:
        resting = self.round.closed and batch_idx > 0
        before = weights(self), self.ledger.spent, deepcopy(self.round.state_dict()), len(epochs)
        steps = deepcopy(self.optimizer_list[0].optimizer.state_dict())
        step(self, iteration, batch_idx)
        if resting:
            idle.append(iteration.number)
            assert_same_weights(weights(self), before[0])
            assert (self.ledger.spent, self.round.state_dict(), len(epochs)) == before[1:]
            assert_same_state(self.optimizer_list[0].optimizer.state_dict(), steps)
        assert self.iterations_done == iteration.number + 1
        if self.round.closed:
            ends.setdefault(self.round.number, weights(self))

    monkeypatch.setattr(RoundState, "note_epoch", remember)
    monkeypatch.setattr(ActiveThief, "training_step", watch)
    model = fit(CONFIG, "run", *KCENTER, "--data.iterations_per_epoch", str(interval)).model
    assert bool(idle) == (interval == 5)
    assert sorted(ends) == [0, 1, 2]
    for number, found in ends.items():
        scored = [(score, state) for which, score, state in epochs if which == number]
        best, expected = max(scored, key=lambda pair: pair[0])  # the first of equal ones
        assert_same_weights(found, expected)
        (end,) = [row for row in rows() if row["round"] == str(number) and row["round_end"] == "1"][:1]
        assert float(end["validation_f1"]) == pytest.approx(best, abs=1e-6)
    assert_same_weights(weights(model), ends[2])
    assert model.round.best_score == model.validation_f1()


def test_rows_of_the_table() -> None:
    model = fit(CONFIG, "run", *KCENTER).model
    table = rows()
    assert [row["round"] for row in table] == ["0", "0", "1", "1", "2", "2"]
    assert [row["round_end"] for row in table] == ["0", "1"] * 3
    ends = [float(row["validation_f1"]) for row in table[1::2]]
    best = [float(score == max(ends[: number + 1])) for number, score in enumerate(ends)]
    assert [float(row["heldout_best"]) for row in table] == [flag for each in best for flag in (0, each)]
    # What the clone of the row was trained with; the next purchase stands in the next row.
    assert [int(row["queries"]) for row in table] == [61, 61, 132, 132, 203, 203]
    assert all(0 <= float(row["validation_f1"]) <= 1 for row in table)
    assert [bool(row["label_entropy"]) for row in table] == [True, False] * 3
    assert float(table[-1]["validation_f1"]) == pytest.approx(model.round.best_score, abs=1e-6)
    summary = json.loads(Path("run/summary.json").read_text())
    chosen = table[1::2][max(number for number, flag in enumerate(best) if flag)]
    assert summary["best_heldout"]["accuracy"] == float(chosen["accuracy"])
    assert summary["final"]["accuracy"] == float(table[-1]["accuracy"])


def test_a_high_loss_puts_the_end_of_a_round_off() -> None:
    patience = ["--model.early_stopping.patience", "1", "--model.early_stopping.epochs", "6"]
    one_epoch = ["--data.iterations_per_epoch", "1"]
    fit(CONFIG, "plain", *KCENTER, *patience, *one_epoch)
    fit(CONFIG, "guarded", *KCENTER, *patience, *one_epoch, "--model.early_stopping.restart_above", "0.001")
    assert len(rows("guarded")) == 3 * 6
    assert len(rows("plain")) < 3 * 6


def test_two_clones_start_differently_and_vote() -> None:
    model = fit(CONFIG, "run", *DIGITS, "--model.clone_training.count", "2").model
    first, second = (member.state_dict() for member in model.clones.members)
    assert differ(first, second)
    assert {"accuracy_clone_0", "accuracy_clone_1"} <= set(rows()[0])
    assert model.ledger.spent == 203
