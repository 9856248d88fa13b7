"""ActiveThief against a slow restatement of its Algorithm 1, in float64."""

import csv
import math
import random
from copy import deepcopy
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from lightning_extract.attacks import ActiveThief, threat_model
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.data.draws import mix_seed
from lightning_extract.networks import CLASSIFIERS
from tests.float64_fit import load_float64_victim, use_float64
from tests.float64_start import TINY, assert_same_weights, tiny_classifier, victim_logits
from tests.miniature import config_of, fit
from tests.selection.naive_deepfool import official, textbook

CLASSES = 10
POOL, VALIDATION_POOL = 330, 110
VALIDATION, SEED, SELECTED = 42, 21, [49, 49, 50]  # of a budget of 211: 0.2, 0.1, and the rest in three rounds
EPOCHS, PATIENCE, BATCH, SURVIVORS, MEASURED, STEPS = 8, 2, 8, 70, 90, 3
MINIATURE = {
    "data.pool": "mnist5k",
    "data.pool_limit": POOL,
    "model.threat_model.query_budget": 211,
    "model.threat_model.remainder": "fill",
    "model.rounds.count": 3,
    "model.early_stopping.epochs": EPOCHS,
    "model.early_stopping.patience": PATIENCE,
    "model.selection.survivors": SURVIVORS,
    "model.selection.deepfool.candidates": MEASURED,
    "model.selection.deepfool.steps": STEPS,
    "model.batch_size": BATCH,
}
ADVERSARIAL = {"textbook": textbook, "official": official}


class SlowActiveThief:
    """Algorithm 1 on lists: no processes, no chunks, no fused optimizer, no oracle, no account.

    Args:
        attack: Whose pool is read and whose victim is asked, past the oracle.
        hard: Whether the victim answers with labels.
        soft_loss: Loss for its probabilities.
        strategies: How samples are chosen.
        variant: Of DeepFool.
        interval: Epochs between two evaluations: a round begins at one.
    """

    def __init__(
        self, attack: Any, hard: bool, soft_loss: str, strategies: list[str], variant: str, interval: int
    ) -> None:
        self.attack, self.hard, self.soft_loss = attack, hard, soft_loss
        self.strategies, self.variant, self.interval = strategies, variant, interval
        order = torch.randperm(POOL, generator=torch.Generator().manual_seed(mix_seed(0, -2))).tolist()
        self.validation, self.training = order[:VALIDATION], order[VALIDATION_POOL:]
        self.bought = self.training[:SEED]
        with torch.random.fork_rng():
            torch.manual_seed(mix_seed(0, -1))
            self.first = tiny_classifier(CLASSES, 1, 32).double()
        self.truth = [int(label) for label in self.answer(self.validation, hard=True)]
        self.best_scores: list[float] = []
        self.epochs: list[int] = []
        self.iteration = 0

    def run(self) -> None:
        for selected in (0, *SELECTED):
            if selected:
                self.bought = self.bought + self.choose(selected)
            self.train()
            self.iteration = math.ceil(self.iteration / self.interval) * self.interval

    def images(self, positions: list[int]) -> Tensor:
        return torch.stack([self.attack.pool.images[position].double() / 127.5 - 1 for position in positions])

    def answer(self, positions: list[int], hard: bool) -> Tensor:
        logits = victim_logits(self.attack, self.images(positions))
        return logits.argmax(1) if hard else logits.softmax(1).double()

    def train(self) -> None:
        self.clone = deepcopy(self.first)
        optimizer = torch.optim.Adam(self.clone.parameters(), lr=1e-3)
        images, answers = self.images(self.bought), self.answer(self.bought, self.hard)
        best, best_score, stale = self.clone.state_dict(), -1.0, 0
        for epoch in count(1):
            self.clone.train()
            generator = torch.Generator().manual_seed(mix_seed(0, self.iteration))
            order = torch.randperm(len(self.bought), generator=generator).tolist()
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                optimizer.zero_grad()
                loss = self.loss(self.clone(images[batch]), answers[batch])
                (loss + 1e-3 / 2 * sum(weight.square().sum() for weight in self.clone.parameters())).backward()
                optimizer.step()
            self.iteration += 1
            score = self.macro_f1()
            stale += 1
            if score > best_score:
                best, best_score, stale = deepcopy(self.clone.state_dict()), score, 0
            if stale == PATIENCE or epoch == EPOCHS:
                break
        self.clone.load_state_dict(best)
        self.best_scores.append(best_score)
        self.epochs.append(epoch)

    def loss(self, logits: Tensor, answers: Tensor) -> Tensor:
        if self.hard:
            return F.nll_loss(logits.log_softmax(1), answers)
        if self.soft_loss == "cross_entropy":
            return -(answers * logits.log_softmax(1)).sum(1).mean()
        if self.soft_loss == "kl":
            return F.kl_div(logits.log_softmax(1), answers, reduction="batchmean")
        recovered = answers.log() - answers.log().mean(1, keepdim=True)
        return (logits - recovered).abs().mean()

    def macro_f1(self) -> float:
        predicted = self.probabilities(self.validation).argmax(1).tolist()
        scores: list[float] = []
        for label in set(predicted) | set(self.truth):
            right = sum(guess == true == label for guess, true in zip(predicted, self.truth, strict=True))
            scores.append(2 * right / (predicted.count(label) + self.truth.count(label)))
        return sum(scores) / len(scores)

    @torch.no_grad()
    def probabilities(self, positions: list[int]) -> Tensor:
        self.clone.eval()
        return torch.stack([self.clone(self.images([position]))[0].softmax(0) for position in positions])

    def choose(self, selected: int) -> list[int]:
        left = sorted(set(self.training) - set(self.bought))
        seed = random.Random(mix_seed(0, self.iteration)).getrandbits(63)
        draws = torch.Generator().manual_seed(seed)
        *filters, last = self.strategies
        for name in filters:
            if len(left) > SURVIVORS:
                left = sorted(self.strategy(name, left, SURVIVORS, draws))
        return self.strategy(last, left, selected, draws)

    def strategy(self, name: str, left: list[int], selected: int, draws: torch.Generator) -> list[int]:
        if name == "random":
            return [left[place] for place in torch.randperm(len(left), generator=draws).tolist()[:selected]]
        if name == "uncertainty":
            entropies = [-sum(p * math.log(p) for p in row) for row in self.probabilities(left).tolist()]
            return [left[place] for place in sorted(range(len(left)), key=lambda place: -entropies[place])[:selected]]
        if name == "kcenter":
            return self.kcenter(left, selected)
        if len(left) > max(MEASURED, selected):
            drawn = torch.randperm(len(left), generator=draws).tolist()[: max(MEASURED, selected)]
            left = [left[place] for place in sorted(drawn)]
        self.clone.eval()
        measure = partial(ADVERSARIAL[self.variant], lambda pixels: self.clone(2 * pixels - 1), steps=STEPS)
        distances = {position: measure(self.images([position])[0] / 2 + 0.5) for position in left}
        return sorted(left, key=distances.__getitem__)[:selected]

    def kcenter(self, left: list[int], selected: int) -> list[int]:
        points = dict(zip(left, self.probabilities(left).unbind(), strict=True))
        centres = list(self.probabilities(self.bought))
        chosen: list[int] = []
        for _ in range(selected):
            remaining = [position for position in left if position not in chosen]
            far = [float((torch.stack(centres) - points[at]).square().sum(1).min()) for at in remaining]
            chosen.append(remaining[far.index(max(far))])
            centres.append(points[chosen[-1]])
        return chosen


def run_in_float64(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> Any:
    monkeypatch.setitem(CLASSIFIERS, "tiny", tiny_classifier)
    monkeypatch.setattr(threat_model, "load_victim", load_float64_victim)
    monkeypatch.setattr(QueryAxis, "setup", use_float64)
    arguments = [text for name, value in (MINIATURE | settings).items() for text in (f"--{name}", str(value))]
    return fit(config_of(ActiveThief), "run", *TINY, *arguments).model


def round_ends() -> list[dict[str, str]]:
    with Path("run/metrics.csv").open() as table:
        return [row for row in csv.DictReader(table) if row["round_end"] == "1"]


@pytest.mark.parametrize(
    ("access", "soft_loss", "strategies", "variant", "interval"),
    [
        ("hard", "cross_entropy", ["adversarial", "kcenter"], "textbook", 1),
        ("soft", "cross_entropy", ["kcenter"], "textbook", 4),
        ("soft", "kl", ["uncertainty"], "textbook", 1),
        ("soft", "l1", ["random", "adversarial"], "official", 3),
    ],
)
def test_a_run_equals_its_slow_restatement(
    access: str, soft_loss: str, strategies: list[str], variant: str, interval: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "model.threat_model.access": access,
        "model.clone_training.soft_loss": soft_loss,
        "model.selection.strategies": f"[{','.join(strategies)}]",
        "model.selection.deepfool.variant": variant,
        "data.iterations_per_epoch": interval,
    }
    attack = run_in_float64(monkeypatch, settings)
    slow = SlowActiveThief(attack, access == "hard", soft_loss, strategies, variant, interval)
    slow.run()
    assert attack.training_set.positions.tolist() == slow.bought
    assert attack.validation_set.positions.tolist() == slow.validation
    # The oracle's answers are float32.
    assert_close(attack.training_set.answers.double(), slow.answer(slow.bought, slow.hard).double(), rtol=0, atol=1e-6)
    assert attack.validation_set.labels.tolist() == slow.truth
    assert_same_weights(attack.clones.members[0], slow.clone, slow.first, atol=1e-6)
    found = [float(row["validation_f1"]) for row in round_ends()]
    assert found == pytest.approx(slow.best_scores, abs=1e-6)
    assert attack.round.best_score == pytest.approx(slow.best_scores[-1], abs=1e-6)
    assert attack.round.epochs == slow.epochs[-1]
    if access == "soft":
        assert min(slow.epochs) < EPOCHS == max(slow.epochs), "rounds must be seen to end either way"
