"""Dual Students against a slow restatement in float64, and what is special about it."""

import json
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_extract.attacks import DualStudents
from lightning_extract.attacks.settings import CloneTraining, GeneratorTraining, WeightAveraging
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.data.datasets import load_images
from lightning_extract.data.draws import IterationDraws, mix_seed
from lightning_extract.data.image_set import images_to_unit_range
from lightning_extract.errors import InputError
from lightning_extract.victims.loading import load_victim
from tests.attacks.test_contract import Kill
from tests.float64_start import assert_same_weights, fit_in_float64, victim_logits
from tests.miniature import config_of, fit
from tests.stand_ins import threat_model
from tests.state import assert_same_state, final_state

ITERATIONS, STEPS, BATCH, LATENT_DIM, HELD_OUT_EVERY, AVERAGED_EVERY = 8, 2, 16, 16, 5, 3


def small(query_budget: int = 1000, **others: Any) -> DualStudents:
    """Dual Students with the smallest networks."""
    others.setdefault("clone_training", CloneTraining(network="lenet5_half", steps=5))
    return DualStudents(
        threat_model(query_budget), generator_training=GeneratorTraining(latent_dim=8, width=2), **others
    )


def slow_average(average: nn.Module, network: nn.Module, updates: int) -> None:
    """The first update copies, the others keep nine tenths; statistics of batches are averaged like weights."""
    with torch.no_grad():
        for name, value in average.state_dict().items():
            if value.is_floating_point():
                new = network.state_dict()[name]
                value.copy_(new if updates == 0 else 0.9 * value + 0.1 * new)


def slow_dual_students(
    attack: DualStudents, generator: nn.Module, students: nn.ModuleList, hard: bool, image: bool, averaged_queries: bool
) -> tuple[nn.Module, nn.ModuleList]:
    """Trains the networks in place, each with an optimizer of its own; returns their averages."""
    of_generator = torch.optim.Adam(generator.parameters(), lr=1e-4)
    of_students = [torch.optim.SGD(s.parameters(), lr=0.3, momentum=0.9, weight_decay=5e-4) for s in students]
    averaged_generator, averaged_students = deepcopy(generator), deepcopy(students)
    for number in range(ITERATIONS):
        draws = IterationDraws(mix_seed(0, number), 0, 1, torch.device("cpu"))
        drops = sum(number >= share * ITERATIONS for share in (0.1, 0.3, 0.5))
        of_generator.param_groups[0]["lr"] = 1e-4 * 0.3**drops
        for optimizer in of_students:
            optimizer.param_groups[0]["lr"] = 0.3 * 0.3**drops

        generator.train(), students.eval()
        images = generator.pre_activation(draws.normal(BATCH, LATENT_DIM).double())
        logits = [student(images.tanh() if image else images) for student in students]
        distances = [(a - b).abs().sum() / (BATCH * 10) for a, b in combinations(logits, 2)]
        of_generator.zero_grad()
        (-sum(distances) / len(distances)).backward()
        of_generator.step()

        generator.eval(), averaged_generator.eval(), students.train()
        for step in range(STEPS):
            with torch.no_grad():
                images = (averaged_generator if averaged_queries else generator)(
                    draws.normal(BATCH, LATENT_DIM).double()
                )
            p = victim_logits(attack, images).softmax(1)
            if step == 0 and number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1:
                continue
            log_p = p.double().log()
            for student, optimizer in zip(students, of_students, strict=True):
                s = student(images)
                target = log_p - log_p.mean(1, keepdim=True)
                loss = F.nll_loss(F.log_softmax(s, 1), p.argmax(1)) if hard else (s - target).abs().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        updates, position = divmod(number, AVERAGED_EVERY)
        if position == AVERAGED_EVERY - 1:
            slow_average(averaged_generator, generator, updates)
            slow_average(averaged_students, students, updates)
    return averaged_generator, averaged_students


@pytest.mark.parametrize(
    ("access", "count", "generator_input", "averaged_queries"),
    [("soft", 2, "image", True), ("hard", 2, "image", False), ("soft", 3, "pre_activation", False)],
)
def test_it_equals_the_slow_restatement(
    access: str, count: int, generator_input: str, averaged_queries: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "threat_model.query_budget": ITERATIONS * STEPS * BATCH,
        "threat_model.access": access,
        "clone_training.count": count,
        "generator_input": generator_input,
        "averaging.generator": str(averaged_queries).lower(),
        "batch_size": BATCH,
    }
    arguments = [text for name, value in settings.items() for text in (f"--model.{name}", str(value))]
    attack, start = fit_in_float64(config_of(DualStudents), monkeypatch, *arguments)
    assert attack.ledger.spent == ITERATIONS * STEPS * BATCH
    before = deepcopy(start)
    image, hard = generator_input == "image", access == "hard"
    averages = slow_dual_students(attack, start["generator"], start["clones"], hard, image, averaged_queries)
    assert_same_weights(attack.clones.members, start["clones"], before["clones"])
    assert_same_weights(attack.generator, start["generator"], before["generator"])
    assert_same_weights(attack.averaged_clones.module.members, averages[1], before["clones"])
    if averaged_queries:
        assert_same_weights(attack.averaged_generator.module, averages[0], before["generator"])
    else:
        assert not hasattr(attack, "averaged_generator"), "what is never used is not kept"


def test_the_first_update_copies_and_later_ones_keep_nine_tenths() -> None:
    attack = small(clone_training=CloneTraining(network="cnn_2_1"), averaging=WeightAveraging(every=1, generator=True))
    average, statistics = attack.averaged_clones.module.members[1], "blocks.0.2.running_var"
    assert "running_mean" in " ".join(attack.averaged_generator.module.state_dict())

    def update(value: float) -> float:
        with torch.no_grad():
            for tensor in attack.clones.state_dict().values():
                tensor.fill_(value)
        attack.averaged_clones.update_parameters(attack.clones)
        found = {float(average.state_dict()[name].mean()) for name in ("linear.weight", "linear.bias", statistics)}
        assert len({round(number, 5) for number in found}) == 1
        return found.pop()

    assert [update(value) for value in (4.0, 14.0, 5.0)] == pytest.approx([4.0, 5.0, 5.0])


@pytest.mark.parametrize("number", range(8))
def test_averages_are_updated_in_every_third_iteration(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = small(averaging=WeightAveraging(every=3, generator=number % 2 == 0))
    monkeypatch.setattr("lightning_extract.attacks.data_free.DataFreeAttack.training_step", lambda *_: None)
    attack.training_step(type("I", (), {"number": number}), 0)
    assert int(attack.averaged_clones.n_averaged) == (number in (2, 5))
    if number % 2 == 0:
        assert int(attack.averaged_generator.n_averaged) == (number in (2, 5))


def test_without_averaging_nothing_is_kept_nor_evaluated() -> None:
    attack = small(averaging=WeightAveraging(every=0))
    assert attack.evaluated_models() == ["vote", "clone_0", "clone_1"]
    assert not [name for name in attack.state_dict() if "averaged" in name]


def test_averages_survive_a_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = ["--model.threat_model.query_budget", "768"]  # six iterations
    fit(config_of(DualStudents), "whole", *budget)
    with monkeypatch.context() as patch:
        patch.setattr(QueryAxis, "on_train_batch_start", Kill(5).on_train_batch_start)  # after the update of the third
        with pytest.raises(InterruptedError):
            fit(config_of(DualStudents), "killed", *budget)
    kept = torch.load("killed/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert int(kept["averaged_clones.n_averaged"]) == int(kept["averaged_generator.n_averaged"]) == 1
    attack = fit(config_of(DualStudents), "killed", *budget).model
    assert int(attack.averaged_clones.n_averaged) == 2
    assert_same_state(final_state(Path("killed")), final_state(Path("whole")))


def slow_quality(probabilities: Tensor, victim: Tensor, labels: Tensor) -> dict[str, float]:
    predicted = probabilities.argmax(1)
    kl = F.kl_div(probabilities.double().log(), victim.double(), reduction="batchmean")
    return {
        "accuracy": float((predicted == labels).float().mean()),
        "agreement": float((predicted == victim.argmax(1)).float().mean()),
        "kl": float(kl),
    }


def test_rows_hold_each_student_the_vote_and_the_averages() -> None:
    attack = fit(config_of(DualStudents), "run", "--data.iterations_per_epoch", "7").model
    row = json.loads(Path("run/summary.json").read_text())["final"]
    network, card = load_victim("lenet5_mnist5k")
    test = load_images("mnist5k", "test", image_size=32)
    images = images_to_unit_range(test.images)
    with torch.no_grad():
        victim = network(((images + 1) / 2 - card.mean[0]) / card.std[0]).softmax(1)
        students = [student.eval()(images).softmax(1) for student in attack.clones.members]
        averages = [student.eval()(images).softmax(1) for student in attack.averaged_clones.module.members]
    models = {
        "": (students[0] + students[1]) / 2,
        "_clone_0": students[0],
        "_clone_1": students[1],
        "_averaged": averages[0],
        "_averaged_vote": (averages[0] + averages[1]) / 2,
    }
    expected = {
        f"{name}{model}": value
        for model, probabilities in models.items()
        for name, value in slow_quality(probabilities, victim, test.labels).items()
    }
    assert len({round(expected[f"kl{model}"], 4) for model in models}) == 5, "the models must differ"
    assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("averaged_queries", [True, False])
def test_modes_and_frozen_networks_of_each_phase(averaged_queries: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool, set[bool], bool, int]] = []

    def watch(name: str) -> None:
        original = getattr(DualStudents, name)

        def watched(self: DualStudents, argument: Any) -> Any:
            result = original(self, argument)
            makes_queries = name == "make_queries"
            maker = self.averaged_generator if makes_queries and averaged_queries else self.generator
            students = {module.training for module in self.clones.members.modules()}
            frozen = not any(parameter.requires_grad for parameter in self.clones.parameters())
            seen.append((name, maker.training, students, frozen, self.ledger.spent))
            return result

        monkeypatch.setattr(DualStudents, name, watched)

    for name in ("generator_loss", "make_queries"):
        watch(name)
    arguments = ["--model.threat_model.query_budget", "256", "--data.iterations_per_epoch", "9"]
    arguments += ["--model.averaging.generator", str(averaged_queries).lower()]
    attack = fit(config_of(DualStudents), "run", *arguments).model
    assert attack.ledger.by_phase == {"clone": 256}, "the generator learns without an answer"
    assert seen == [
        ("generator_loss", True, {False}, True, 0),
        ("make_queries", False, {True}, False, 0),
        ("make_queries", False, {True}, False, 64),
        ("generator_loss", True, {False}, True, 128),
        ("make_queries", False, {True}, False, 128),
        ("make_queries", False, {True}, False, 192),
    ]


def test_queries_come_from_the_averaged_generator_by_its_running_statistics() -> None:
    attack = small(averaging=WeightAveraging(generator=True))
    attack.draws = IterationDraws(3, 0, 1, torch.device("cpu"))
    with torch.no_grad():
        for tensor in attack.generator.parameters():
            tensor.fill_(0.3)
        images = attack.make_queries(4)
        latents = IterationDraws(3, 0, 1, torch.device("cpu")).normal(4, 8)
        assert_close(images, attack.averaged_generator.module.eval()(latents))
        attack.averaged_generator.update_parameters(attack.generator)
        attack.draws = IterationDraws(3, 0, 1, torch.device("cpu"))
        assert_close(attack.make_queries(4), attack.generator.eval()(latents))
    assert not torch.equal(images, attack.generator(latents))


@pytest.fixture
def published() -> DualStudents:
    """The attack with all its defaults, without memory for its weights."""
    with torch.device("meta"):
        return DualStudents(threat_model(20_000_000, channels=3))


def test_the_published_account(published: DualStudents) -> None:
    assert published.queries_per_iteration == 1_280
    iterations = 0
    while not published.finished:
        published.ledger.charge(published.queries_per_iteration, "clone")
        iterations += 1
    assert (iterations, published.ledger.remaining) == (15_625, 0)


def test_the_published_settings(published: DualStudents) -> None:
    assert (len(published.clones), published.clone_training.steps, published.batch_size) == (2, 5, 256)
    assert not published.replay.batches
    (of_clones, of_generator), schedulers = published.configure_optimizers()
    assert of_clones.defaults["lr"] == pytest.approx(0.3)
    assert (of_clones.defaults["momentum"], of_clones.defaults["weight_decay"]) == (0.9, 5e-4)
    assert (of_generator.defaults["lr"], of_generator.defaults["weight_decay"]) == (1e-4, 0)
    assert len(schedulers) == 2
    shares = (0.0999, 0.1, 0.2999, 0.3, 0.4999, 0.5)
    assert [published.schedule.rate(share) for share in shares] == pytest.approx([1, 0.3, 0.3, 0.09, 0.09, 0.027])


def test_one_student_has_nobody_to_disagree_with() -> None:
    with pytest.raises(InputError, match=r"clone_training.count is 1; disagreement needs at least 2 clones"):
        small(clone_training=CloneTraining(network="lenet5_half", count=1))
