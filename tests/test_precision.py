"""Mixed precision is for what learns; the victim answers in float32 whatever the trainer's precision."""

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_extract.attacks import ExtractionAttack
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


@pytest.mark.slow
@every_attack
def test_compiled_clones_learn_the_same(attack: type[ExtractionAttack]) -> None:
    for run_dir, compiled in (("plain", "false"), ("compiled", "true")):
        fit(config_of(attack), run_dir, "--model.clone_training.compile", compiled)
    plain, compiled_state = final_state(Path("plain")), final_state(Path("compiled"))
    assert compiled_state["attack"]["ledger"] == plain["attack"]["ledger"]
    assert compiled_state["state_dict"].keys() == plain["state_dict"].keys()
    for name, value in plain["state_dict"].items():  # other kernels round otherwise
        torch.testing.assert_close(compiled_state["state_dict"][name], value, rtol=0.05, atol=0.05)
