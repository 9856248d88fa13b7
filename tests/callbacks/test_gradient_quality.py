import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_extract.attacks import DFME, MAZE, DataFreeAttack, DisGUIDE, DualStudents
from lightning_extract.attacks.settings import CloneTraining, ForwardDifferences
from lightning_extract.callbacks.gradient_quality import GradientQuality
from lightning_extract.data.draws import IterationDraws, mix_seed
from lightning_extract.errors import InputError
from lightning_extract.networks import CLASSIFIERS
from lightning_extract.oracle import VictimOracle, victim_queries
from lightning_extract.victims.loading import load_victim
from tests.miniature import config_of, fit
from tests.stand_ins import small_attack, stand_in_trainer
from tests.state import assert_same_state, final_state

TINY = ["--model.clone_training.network", "tiny", "--model.generator_training.width", "2"]
WITH_GENERATOR = pytest.mark.parametrize(
    "attack", [DFME, MAZE, DualStudents, DisGUIDE], ids=lambda attack: attack.__name__
)
ANSWERS = {DFME: 2 + 1, MAZE: 3 + 1, DualStudents: 0, DisGUIDE: 0}  # m + 1, in their miniatures
SAMPLES = 10


def restless_classifier(num_classes: int, channels: int, image_size: int) -> nn.Module:
    """Has statistics that a batch moves and a dropout that draws, in MAZE's generator phase, too."""
    convolution = nn.Conv2d(channels, 4, 5, stride=4)
    body = (convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(4 * (image_size // 4 - 1) ** 2, num_classes))


def read(run: str) -> tuple[list[dict[str, str]], dict[str, Any]]:
    with Path(run, "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file)), json.loads(Path(run, "summary.json").read_text())


@WITH_GENERATOR
def test_a_diagnosed_run_is_the_same_run(attack: type[DataFreeAttack], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLASSIFIERS, "tiny", restless_classifier)
    budget = ["--model.threat_model.query_budget", "480", "--data.iterations_per_epoch", "2"]
    on = ["--gradient_quality.every", "1", "--gradient_quality.samples", str(SAMPLES)]
    fit(config_of(attack), "off", *budget, *TINY)
    fit(config_of(attack), "on", *budget, *TINY, *on)
    states = {run: final_state(Path(run)) for run in ("off", "on")}
    for state in states.values():
        state["callbacks"] = {name: value for name, value in state["callbacks"].items() if "GradientQ" not in name}
    assert_same_state(states["on"], states["off"])

    (plain, summary), (rows, diagnosed) = read("off"), read("on")
    assert "gradient_cosine" not in plain[0], "it is off unless asked for"
    cosines = [{name: row.pop(name) for name in ("gradient_cosine", "gradient_cosine_weights")} for row in rows]
    assert rows == plain
    assert len(rows) >= 2
    assert all(-1 <= float(value) <= 1 for row in cosines for value in row.values())
    free = summary["queries"].pop("reference") + len(rows) * SAMPLES * (ANSWERS[attack] + 1)
    assert diagnosed["queries"].pop("reference") == free
    assert diagnosed["queries"] == summary["queries"]


def test_only_the_chosen_evaluations_are_diagnosed_before_and_after_an_interruption() -> None:
    arguments = ["--gradient_quality.every", "2", "--gradient_quality.samples", "4", "--data.iterations_per_epoch", "1",
                 "--model.threat_model.query_budget", "640"]  # fmt: skip
    fit(config_of(DFME), "whole", *arguments)
    for epochs in (["--trainer.max_epochs", "1"], []):
        fit(config_of(DFME), "resumed", *arguments, *epochs)
    for run in ("whole", "resumed"):
        rows, summary = read(run)
        for name in ("gradient_cosine", "gradient_cosine_weights"):
            assert [bool(row[name]) for row in rows] == [True, False] * 2
            assert name not in summary["final"], "the last evaluation had none of its own"
    assert Path("resumed/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()


def test_evaluations_are_counted_and_not_epochs() -> None:
    fit(config_of(DFME), "run", "--gradient_quality.every", "2", "--gradient_quality.samples", "4",
        "--data.iterations_per_epoch", "1", "--trainer.check_val_every_n_epoch", "2")  # fmt: skip
    rows, _ = read("run")
    assert [row["iteration"] for row in rows] == ["2", "4", "6"]
    assert [bool(row["gradient_cosine"]) for row in rows] == [True, False, True]


def ready(attack: type[DataFreeAttack], **settings: Any) -> Any:
    """A small attack with its oracle, before the first iteration."""
    torch.manual_seed(0)
    made = small_attack(attack, **settings)
    network, made.victim_card = load_victim("lenet5_mnist5k")
    queries = victim_queries("lenet5_mnist5k", made.victim_card, made.threat_model.input_space)
    made.oracle = VictimOracle(network, 10, queries, made.threat_model.access, made.ledger)
    made.trainer = stand_in_trainer()
    return made


def by_hand(attack: DataFreeAttack, own_loss: Callable[[Tensor], Tensor], soft_loss: str) -> tuple[float, float]:
    """Both cosines, from backward passes of the generator itself and a victim without an oracle."""
    network, card = load_victim("lenet5_mnist5k")
    draws = IterationDraws(mix_seed(2**62, attack.iterations_done), 0, 1, torch.device("cpu"))
    latents = draws.normal(SAMPLES, 8)
    attack.generator.train(), attack.clones.eval()

    def true_loss(a: Tensor) -> Tensor:
        log_p = network(((a.tanh() + 1) / 2 - card.mean[0]) / card.std[0]).log_softmax(dim=1)
        total = torch.zeros(())
        for clone in attack.clones.members:
            s = clone(a.tanh())
            if soft_loss == "kl":
                total = total - (log_p.exp() * (log_p - s.log_softmax(dim=1))).sum(dim=1).mean()
            else:
                total = total - (s - log_p + log_p.mean(dim=1, keepdim=True)).abs().mean()
        return total / len(attack.clones)

    found = []
    for loss in (own_loss, true_loss):
        attack.generator.zero_grad()
        a = attack.generator.pre_activation(latents)
        a.retain_grad()
        loss(a).backward()
        assert a.grad is not None
        weights = torch.cat([p.grad.flatten() for p in attack.generator.parameters() if p.grad is not None])
        found.append((a.grad.flatten(1), weights))
    attack.generator.zero_grad()
    (own, own_weights), (true, true_weights) = found
    samples = [float(g @ h / (g.norm() * h.norm())) for g, h in zip(own, true, strict=True)]
    return sum(samples) / SAMPLES, float(own_weights @ true_weights / (own_weights.norm() * true_weights.norm()))


@pytest.mark.parametrize(("soft_loss", "access"), [("l1", "soft"), ("kl", "soft"), ("l1", "hard")])
def test_cosines_of_two_students_equal_those_by_hand(
    soft_loss: Any, access: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CLASSIFIERS, "tiny", restless_classifier)
    clones = CloneTraining(network="tiny", soft_loss=soft_loss)
    attack = ready(DualStudents, clone_training=clones, access=access)

    def disagreement(a: Tensor) -> Tensor:
        first, second = (clone(a.tanh()) for clone in attack.clones.members)
        loss: Tensor = -(first - second).abs().mean()
        return loss

    expected = by_hand(attack, disagreement, soft_loss)
    found = GradientQuality(every=1, samples=SAMPLES).diagnose(attack)
    assert found["gradient_cosine"].item() == pytest.approx(expected[0], abs=1e-5)
    assert found["gradient_cosine_weights"].item() == pytest.approx(expected[1], abs=1e-5)
    assert abs(expected[0]) < 0.99
    assert (attack.ledger.spent, attack.oracle.answered, attack.oracle.referenced) == (0, 0, SAMPLES)


@WITH_GENERATOR
def test_the_true_gradient_has_a_cosine_of_one(attack: type[DataFreeAttack], monkeypatch: pytest.MonkeyPatch) -> None:
    victim, card = load_victim("lenet5_mnist5k")

    def white_box(self: DataFreeAttack, a: Tensor) -> Tensor:
        p: Tensor = victim(((a.tanh() + 1) / 2 - card.mean[0]) / card.std[0]).softmax(dim=1)
        s = self.clone_logits(a.tanh())
        if self.clone_training.soft_loss == "kl":
            return (p * s.log_softmax(dim=2)).sum(dim=2).mean() - (p * p.log()).sum(dim=1).mean()
        return -(s - p.log() + p.log().mean(dim=1, keepdim=True)).abs().mean()

    monkeypatch.setattr(attack, "generator_loss", white_box)
    settings = {"grayscale_fraction": 0.0} if attack is DisGUIDE else {}
    found = GradientQuality(every=1, samples=SAMPLES).diagnose(ready(attack, **settings))
    assert found["gradient_cosine"].item() == pytest.approx(1, abs=1e-4)
    assert found["gradient_cosine_weights"].item() == pytest.approx(1, abs=1e-4)
    monkeypatch.setattr(attack, "generator_loss", lambda self, a: -white_box(self, a))
    found = GradientQuality(every=1, samples=SAMPLES).diagnose(ready(attack, **settings))
    assert found["gradient_cosine"].item() == pytest.approx(-1, abs=1e-4), "the sign counts"


def test_more_directions_come_closer() -> None:
    cosines = []
    for directions in (1, 32, 512):
        attack = ready(DFME, differences=ForwardDifferences(directions))
        cosines.append(GradientQuality(every=1, samples=4).diagnose(attack))
        assert (attack.ledger.spent, attack.oracle.referenced) == (0, 4 * (directions + 2))
    for name in cosines[0]:
        few, some, many = (float(row[name]) for row in cosines)
        assert few < some < many, name
    # Directions in 1,024 dimensions: 1 / sqrt(1 + d / m).
    found = [float(row["gradient_cosine"]) for row in cosines]
    assert found == pytest.approx([0.03, 0.17, 0.58], abs=0.06)


def test_an_exact_clone_is_compared_as_it_is() -> None:
    found = [
        GradientQuality(every=1, samples=4).diagnose(
            ready(DFME, clone_gradient=clone_gradient, differences=ForwardDifferences(8))
        )["gradient_cosine"]
        for clone_gradient in ("estimated", "exact")
    ]
    assert found[0] != found[1]


def test_diagnoses_differ_by_iteration_and_repeat() -> None:
    attack, found = ready(DFME), []
    for attack.iterations_done in (0, 0, 1):
        found.append(GradientQuality(every=1, samples=4).diagnose(attack)["gradient_cosine"].item())
    assert found[0] == found[1] != found[2]


def test_a_closed_account_is_diagnosed_too() -> None:
    attack = ready(DFME)
    attack.stop_buying()
    GradientQuality(every=1, samples=4).diagnose(attack)
    assert attack.ledger.spent == 0


def test_what_fails_inside_leaves_the_attack_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = ready(MAZE)
    attack.draws = draws = IterationDraws(0, 0, 1, torch.device("cpu"))
    attack.generator_batch = batch = (torch.zeros(1), torch.zeros(1))
    attack.generator.eval(), attack.clones.eval()
    before, random = {name: value.clone() for name, value in attack.named_buffers()}, torch.get_rng_state()

    def fail(self: VictimOracle, samples: Tensor) -> Tensor:
        torch.rand(1)
        raise RuntimeError("late")

    monkeypatch.setattr(VictimOracle, "white_box", fail)
    with pytest.raises(RuntimeError, match="late"):
        GradientQuality(every=1, samples=4).diagnose(attack)
    assert attack.draws is draws
    assert attack.generator_batch is batch
    assert not any(module.training for module in (*attack.generator.modules(), *attack.clones.modules()))
    assert all(torch.equal(value, before[name]) for name, value in attack.named_buffers())
    assert torch.equal(torch.get_rng_state(), random)
    attack.oracle.query(torch.zeros(1, 1, 32, 32), "clone")
    assert attack.ledger.spent == 1, "the free door is closed"


def test_unknown_classes_are_refused_when_it_is_on() -> None:
    attack = small_attack(DualStudents, access="hard", num_classes="unknown")
    GradientQuality().on_fit_start(stand_in_trainer(), attack)
    with pytest.raises(InputError, match=r"known classes only; give num_classes or set gradient_quality\.every to 0"):
        GradientQuality(every=1).on_fit_start(stand_in_trainer(), attack)


@pytest.mark.parametrize(("name", "value"), [("every", -1), ("samples", 1)])
def test_impossible_numbers_are_refused(name: str, value: int) -> None:
    with pytest.raises(InputError, match=f"{name} (is )?{value}"):
        GradientQuality(**{name: value})


def test_other_evaluations_are_not_diagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    attack, callback = ready(DFME), GradientQuality(every=1, samples=4)
    monkeypatch.setattr(callback, "diagnose", lambda attack: pytest.fail("diagnosed"))
    trainer = stand_in_trainer(current_epoch=0, sanity_checking=True)
    callback.on_validation_epoch_end(trainer, attack)
    trainer.sanity_checking, trainer.state.fn = False, "validate"
    callback.on_validation_epoch_end(trainer, attack)
