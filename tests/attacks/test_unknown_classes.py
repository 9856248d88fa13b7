"""Attacks on a victim whose number of classes is unknown."""

import csv
import json
import subprocess
import sys
from math import log
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_extract.attacks import DisGUIDE, DualStudents, ExtractionAttack, SurrogateDistillation
from lightning_extract.attacks.settings import CloneTraining
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.data.datasets import load_images
from lightning_extract.data.image_set import images_to_unit_range
from lightning_extract.errors import InputError
from lightning_extract.oracle import VictimOracle, victim_queries
from lightning_extract.victims.loading import load_victim
from tests.attacks.test_contract import Kill
from tests.float64_start import fit_in_float64
from tests.miniature import config_of, fit
from tests.stand_ins import small_disguide, stand_in_trainer
from tests.state import assert_same_state, final_state
from tests.varied_victim import BATCH, CAPACITY, ITERATIONS, unknown_classes

SCRIPT = Path(__file__).parent.parent / "float64_fit.py"


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return unknown_classes(tmp_path_factory.mktemp("victim"))


def test_the_generator_waits_for_the_first_class(varied: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    monkeypatch.setattr(DualStudents, "generator_phase", lambda attack, steps: found.append(attack.classes.found))
    fit(config_of(DualStudents), "run", *varied, "--data.iterations_per_epoch", "20")
    assert len(found) == ITERATIONS - 1
    assert min(found) > 0


def test_an_evaluation_after_which_nothing_was_learnt_has_no_loss(varied: list[str]) -> None:
    # Before the first class the generator has nothing to learn, and every second batch is set aside.
    arguments = ["--data.iterations_per_epoch", "1", "--model.clone_training.steps", "1"]
    arguments += ["--model.clone_training.heldout_every", "2", "--model.threat_model.query_budget", str(3 * BATCH)]
    fit(config_of(DualStudents), "run", *varied, *arguments)
    with Path("run/metrics.csv").open() as file:
        rows = [(bool(row["generator_loss"]), bool(row["clone_loss"])) for row in csv.DictReader(file)]
    assert rows == [(False, True), (True, False), (True, True)]
    assert "nan" not in Path("run/metrics.csv").read_text()


def test_outputs_not_yet_found_never_matter(varied: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*varied, "--data.iterations_per_epoch", "3", "--model.clone_training.heldout_every", "2"]
    fit(config_of(DualStudents), "clean", *arguments)

    def poison(self: QueryAxis, trainer: Any, attack: DualStudents, *_: Any) -> None:
        with torch.no_grad():
            for member in (*attack.clones.members, *attack.averaged_clones.module.members):
                member.fc2.weight[attack.classes.found :].fill_(1e3)
                member.fc2.bias[attack.classes.found :].fill_(1e6)

    # Before each iteration and before each evaluation, which keeps copies of the clones.
    monkeypatch.setattr(QueryAxis, "on_train_batch_start", poison)
    monkeypatch.setattr(QueryAxis, "on_validation_start", poison)
    attack = fit(config_of(DualStudents), "poisoned", *arguments).model
    assert attack.clones.members[0].fc2.bias.max() == 1e6, "an output must stay free to the end"
    assert len(attack.classes.history) >= 3
    assert Path("poisoned/metrics.csv").read_text() == Path("clean/metrics.csv").read_text()
    found = attack.classes.found
    clean, poisoned = (final_state(Path(run))["state_dict"] for run in ("clean", "poisoned"))
    for name, value in clean.items():
        rows = slice(found) if ".fc2." in name else ...
        assert torch.equal(poisoned[name][rows], value[rows]), name


class PerfectClones(nn.Module):
    """Knows the victim's labels, answers in the order of discovery, and is loud where nothing was found."""

    def __init__(self, attack: ExtractionAttack) -> None:
        super().__init__()
        self.members = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.oracle, self.classes = attack.oracle, attack.classes

    def __len__(self) -> int:
        return len(self.members)

    def forward(self, images: Tensor) -> Tensor:
        labels = self.oracle.reference(images).argmax(dim=1).tolist()
        logits = torch.full((len(self), len(images), CAPACITY), -9.0)
        logits[..., self.classes.found :] = 1e6
        for position, label in enumerate(labels):
            logits[:, position, self.classes.labels.index(label)] = 9.0
        return logits


def test_a_clone_that_is_right_in_the_order_of_discovery_scores_one() -> None:
    clones = CloneTraining(network="lenet5_half", class_capacity=CAPACITY)
    attack = small_disguide(access="hard", num_classes="unknown", clone_training=clones)
    attack.trainer = stand_in_trainer()
    network, card = load_victim("lenet5_mnist5k")
    attack.victim_card, queries = card, victim_queries("lenet5_mnist5k", card)
    attack.oracle = VictimOracle(network, 10, queries, "hard", attack.ledger)
    for number, label in enumerate((7, 2, 9, 0, 4, 1, 8, 3, 5, 6)):
        attack.classes.observe(torch.tensor([label]), number)
    attack.clones = PerfectClones(attack)
    images = images_to_unit_range(load_images("mnist5k", "test", image_size=32).images[::5])
    labels = attack.oracle.reference(images).argmax(dim=1)
    assert len(labels.unique()) == 10
    attack.validation_step((images, labels), 0)
    for name, quality in attack.scores.qualities.items():
        assert {key: float(value) for key, value in quality.compute().items() if key != "kl"} == {
            "accuracy": 1.0,
            "agreement": 1.0,
        }, name
    probabilities = attack.predict_step((images, labels), 0)
    assert probabilities.shape == (len(images), 10)
    assert torch.equal(probabilities.argmax(dim=1), labels)


def test_the_best_so_far_goes_on_answering_with_the_classes_of_its_time() -> None:
    clones = CloneTraining(network="lenet5_half", class_capacity=4)
    attack = small_disguide(access="hard", num_classes="unknown", clone_training=clones)
    _, attack.victim_card = load_victim("lenet5_mnist5k")
    attack.heldout.answers.add(torch.zeros(6, 1, 32, 32), torch.tensor([3, 3, 3, 3, 3, 5]), Random(0))
    with torch.no_grad():
        for member in attack.clones.members:
            member.fc2.weight.zero_()
            member.fc2.bias.copy_(torch.tensor([0.0, 9.0, 0.0, 0.0]))  # loud where nothing is found yet
    rows = []
    for label in (3, 5):
        attack.classes.observe(torch.tensor([label]), 10)
        row = attack.training_row()
        rows.append((round(float(row["heldout_agreement"]), 4), float(row["heldout_best"])))
    assert rows == [(0.8333, 1), (0.1667, 0)]


def test_labels_are_counted_and_one_class_alone_is_a_collapse(
    varied: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bought: list[int] = []
    query = VictimOracle.query

    def recorded(oracle: VictimOracle, samples: Tensor, phase: str) -> Tensor:
        answers = query(oracle, samples, phase)
        bought.extend(answers.tolist())
        return answers

    monkeypatch.setattr(VictimOracle, "query", recorded)
    once = ["--data.iterations_per_epoch", "20"]
    fit(config_of(DualStudents), "run", *varied, *once)
    row = json.loads(Path("run/summary.json").read_text())["final"]
    shares = [bought.count(label) / len(bought) for label in set(bought)]
    assert row["label_entropy"] == pytest.approx(-sum(share * log(share) for share in shares), abs=1e-5)
    assert row["label_top_share"] == pytest.approx(max(shares), abs=1e-6)
    assert row["classes_found"] == len(shares) > 3
    # The shipped victim answers the same noise with one class only.
    fit(config_of(DualStudents), "collapsed", *varied, "--model.threat_model.victim", "lenet5_mnist5k", *once)
    summary = json.loads(Path("collapsed/summary.json").read_text())
    assert summary["class_discovery"] == [[8, 1]]
    assert summary["final"]["label_top_share"] == 1
    assert any(report.startswith("the victim puts the queries into one class") for report in summary["collapse"])


@pytest.mark.parametrize("attack", [DisGUIDE, SurrogateDistillation], ids=lambda attack: attack.__name__)
def test_other_attacks_discover_too(attack: type[ExtractionAttack], varied: list[str]) -> None:
    once = ["--data.iterations_per_epoch", "100"]
    model = fit(config_of(attack), "run", *varied, *once).model
    summary = json.loads(Path("run/summary.json").read_text())
    assert model.classes.found == len(set(model.classes.labels)) > 1
    assert summary["class_discovery"][-1][1] == summary["final"]["classes_found"] == model.classes.found
    assert summary["final"]["clone_loss"] > 0


def test_kill_and_resume_equals_the_uninterrupted_run(varied: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*varied, "--data.iterations_per_epoch", "3", "--model.replay.batches", "1"]
    whole = fit(config_of(DualStudents), "whole", *arguments).model
    with monkeypatch.context() as patch:
        patch.setattr(QueryAxis, "on_train_batch_start", Kill(4).on_train_batch_start)
        with pytest.raises(InterruptedError):
            fit(config_of(DualStudents), "killed", *arguments)
    queries = [queries for queries, _ in whole.classes.history]
    at_checkpoint = 3 * 2 * BATCH
    assert min(queries) <= at_checkpoint < max(queries), "classes must be found before and after the kill"
    torch.manual_seed(12345)
    fit(config_of(DualStudents), "killed", *arguments)
    assert_same_state(final_state(Path("killed")), final_state(Path("whole")))
    assert Path("killed/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()
    histories = [json.loads(Path(run, "summary.json").read_text())["class_discovery"] for run in ("killed", "whole")]
    assert histories[0] == histories[1] == [list(pair) for pair in whole.classes.history]


def test_two_processes_equal_one(varied: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*varied, "--data.iterations_per_epoch", "1000", "--model.replay.batches", "1"]
    arguments += ["--model.clone_training.network", "lenet5_half"]
    command = [sys.executable, str(SCRIPT), "fit", "--config", str(config_of(DualStudents)), "--run_dir", "two"]
    two = subprocess.Popen(
        [*command, *arguments, "--trainer.devices", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    fit_in_float64(config_of(DualStudents), monkeypatch, *arguments)
    _, errors = two.communicate(timeout=300)
    assert two.returncode == 0, errors[-2000:]
    assert len(final_state(Path("run"))["attack"]["classes"]["history"]) >= 4
    assert_same_state(final_state(Path("two")), final_state(Path("run")), atol=1e-6)


def test_too_many_classes_for_the_room_end_the_run(varied: list[str]) -> None:
    message = r"answered with \d+ classes by query \d+, .* clone_training.class_capacity 2; raise it"
    with pytest.raises(InputError, match=message):
        fit(config_of(DualStudents), "run", *varied, "--model.clone_training.class_capacity", "2")


def test_soft_access_tells_the_number_of_classes() -> None:
    with pytest.raises(InputError, match="num_classes is unknown, but soft access shows it; give the number"):
        small_disguide(num_classes="unknown")
