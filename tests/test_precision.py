"""Mixed precision is for what learns; the victim answers in float32 whatever the trainer's precision."""

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_extract.attacks import ExtractionAttack
from lightning_extract.errors import InputError
from lightning_extract.functional.precision import begin_momenta
from lightning_extract.oracle import VictimOracle
from lightning_extract.victims.loading import load_victim
from tests.miniature import ATTACKS, config_of, fit
from tests.state import final_state

every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)


@every_attack
def test_bf16_mixed_leaves_the_answers_alone(attack: type[ExtractionAttack], monkeypatch: pytest.MonkeyPatch) -> None:
    bought: list[tuple[Tensor, Tensor]] = []
    learnt: list[torch.dtype] = []
    query, clone_loss = VictimOracle.query, ExtractionAttack.clone_loss

    def watched_query(self: VictimOracle, samples: Tensor, phase: str, total: int | None = None) -> Tensor:
        answers = query(self, samples, phase, total)
        bought.append((samples.clone(), answers))
        return answers

    def watched_loss(self: ExtractionAttack, logits: Tensor, answers: Tensor) -> Tensor:
        learnt.append(logits.dtype)
        return clone_loss(self, logits, answers)

    monkeypatch.setattr(VictimOracle, "query", watched_query)
    monkeypatch.setattr(ExtractionAttack, "clone_loss", watched_loss)
    model = fit(config_of(attack), "run", "--trainer.precision", "bf16-mixed").model
    assert set(learnt) == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    network, card = load_victim("lenet5_mnist5k")
    mean, std = torch.tensor(card.mean).view(1, -1, 1, 1), torch.tensor(card.std).view(1, -1, 1, 1)
    for samples, answers in bought:
        assert answers.dtype == torch.float32
        expected = network(((samples.float() + 1) / 2 - mean) / std).softmax(dim=1)
        torch.testing.assert_close(answers, expected, rtol=0, atol=1e-6)
    assert sum(len(samples) for samples, _ in bought) == model.ledger.spent


def test_the_summary_names_the_precision() -> None:
    fit(config_of(ATTACKS[0]), "run", "--trainer.precision", "bf16-mixed")
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["precision"] == "bf16-mixed"
    assert summary["queries"]["spent"] == summary["queries"]["answered"] == 960
    with Path("run/metrics.csv").open() as file:
        assert all(0 <= float(row["agreement"]) <= 1 for row in csv.DictReader(file))


SCALED = json.dumps(
    {
        "class_path": "lightning.pytorch.plugins.MixedPrecision",
        "init_args": {"precision": "16-mixed", "device": "cpu"},
    }
)


@pytest.mark.slow
@every_attack
def test_half_precision_scales_every_loss(attack: type[ExtractionAttack]) -> None:
    """By a plugin, since Lightning turns 16-mixed on a CPU into bf16-mixed, which needs no scaler."""
    cli = fit(config_of(attack), "run", "--trainer.plugins", SCALED)
    scaler = cli.trainer.precision_plugin.scaler
    assert json.loads(Path("run/summary.json").read_text())["precision"] == "16-mixed"
    assert scaler.get_scale() > 1
    assert scaler.state_dict()["_growth_tracker"] > 0  # steps without overflow
    assert cli.model.finished
    for parameter in cli.model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.isfinite().all()


def test_a_skipped_first_step_leaves_no_momentum() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=True)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(weight.sum() * torch.inf).backward()
    begin_momenta(optimizer)
    scaler.step(optimizer)
    assert optimizer.state[weight]["momentum_buffer"].tolist() == [0.0] * 3
    assert weight.tolist() == [1.0] * 3


def test_16_true_is_refused_before_a_query() -> None:
    with pytest.raises(InputError, match="precision 16-true is not supported; use 32-true, bf16-mixed or 16-mixed"):
        fit(config_of(ATTACKS[0]), "run", "--trainer.precision", "16-true")


@pytest.mark.slow
@every_attack
def test_clones_in_channels_last_learn_the_same(attack: type[ExtractionAttack]) -> None:
    assert_learn_the_same(attack, "--model.clone_training.channels_last", "true")


@pytest.mark.slow
@every_attack
def test_compiled_clones_learn_the_same(attack: type[ExtractionAttack]) -> None:
    assert_learn_the_same(attack, "--model.clone_training.compile", "true")


def assert_learn_the_same(attack: type[ExtractionAttack], *arguments: str) -> None:
    fit(config_of(attack), "plain")
    fit(config_of(attack), "other", *arguments)
    plain, other = final_state(Path("plain")), final_state(Path("other"))
    assert other["attack"]["ledger"] == plain["attack"]["ledger"]
    assert other["state_dict"].keys() == plain["state_dict"].keys()
    for name, value in plain["state_dict"].items():  # other kernels round otherwise
        torch.testing.assert_close(other["state_dict"][name], value, rtol=0.05, atol=0.05)
