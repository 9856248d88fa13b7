"""Two processes, four or eight, run the very same algorithm on the very same samples as one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_extract.attacks import DFME, DFMS, ExtractionAttack
from tests.float64_fit import fit_in_float64
from tests.miniature import ATTACKS, config_of
from tests.processes.world import World
from tests.state import assert_same_state, final_state

# Clones with batch normalisation, which must be synchronised, and a budget whose remainder is spent, too.
ARGUMENTS = ["--model.clone_training.network", "cnn_2_1", "--model.threat_model.remainder", "fill"]
# A difference divides the rounding of the answers by epsilon: 1e-3 would show it in the weights.
DIFFERENCES = ["--model.differences.epsilon", "0.5"]
# Two whole iterations and a smaller one. Of 80 queries left, DFME's generator phase asks for 3 answers to each of 26
# samples and the clone phase gets the other 2; of 82, MAZE's asks for 4 to each of 20, which the clone has for nothing.
ACCOUNTS = {
    "DFME": {"generator": 2 * 96 + 78, "clone": 2 * 64 + 2},
    "MAZE": {"generator": 2 * 128 + 80, "clone": 2 * 32 + 2},
    # Both clone stages whole, an alternating iteration and a smaller one.
    "DFMS": {
        "clone_init_validation": 40,
        "clone_init": 72,
        "clone_reinit_validation": 40,
        "clone_reinit": 72,
        "alternating": 64 + 10,
    },
    # Shares of unlike size: the last round takes what does not divide.
    "ActiveThief": {"validation": 43, "seed": 22, "selected": 7 * 18 + 25},
}
# Eight processes share what is left of the budget in eights.
ACCOUNTS_OF_MANY = ACCOUNTS | {
    "DFME": {"generator": 2 * 96 + 72, "clone": 2 * 64},
    "MAZE": {"generator": 2 * 128 + 64, "clone": 2 * 32},
    "DFMS": ACCOUNTS["DFMS"] | {"clone_init": 64, "clone_reinit": 64, "alternating": 64 + 16},
}
OTHERS_ACCOUNT = {"clone": 216}  # a whole iteration, or three, and a smaller one


def answers_and_state(
    attack: type[ExtractionAttack], processes: int, budget: int, *more: str
) -> tuple[list[Any], dict[str, Any]]:
    """What the victim answered, query after query and over all processes in the order of the batch; the end's state."""
    command = ["fit", "--config", str(config_of(attack)), "--run_dir", f"on_{processes}", *ARGUMENTS, *more]
    command += ["--trainer.devices", str(processes), "--model.threat_model.query_budget", str(budget)]
    command += DIFFERENCES if attack.__name__ in ("DFME", "MAZE") else []
    for ended in World(processes, fit_in_float64, command, f"answers_on_{processes}_").wait():
        assert ended.code == 0, ended.stderr[-2000:]
    shares = [torch.load(f"answers_on_{processes}_{rank}.pt", weights_only=True) for rank in range(processes)]
    batches: list[tuple[str, Tensor]] = [
        (of_all[0][0], torch.cat([answers for _, answers in of_all])) for of_all in zip(*shares, strict=True)
    ]
    return batches, final_state(Path(f"on_{processes}"))


def compare(attack: type[ExtractionAttack], processes: int, account: dict[str, int], *more: str) -> None:
    budget = sum(account.values())
    (answers, state), (expected, one) = (answers_and_state(attack, count, budget, *more) for count in (processes, 1))
    assert one["attack"]["ledger"] == state["attack"]["ledger"]
    assert one["attack"]["ledger"]["by_phase"] == account
    assert one["attack"]["oracle"]["answered"] == state["attack"]["oracle"]["answered"] == budget
    assert [phase for phase, _ in answers] == [phase for phase, _ in expected]
    assert sum(len(batch) for _, batch in answers) == budget
    for (phase, found), (_, batch) in zip(answers, expected, strict=True):
        torch.testing.assert_close(found, batch, rtol=0, atol=1e-10, msg=lambda text, phase=phase: f"{phase}: {text}")
        if batch.ndim == 2:
            assert found.argmax(dim=1).equal(batch.argmax(dim=1))
    # Momentum sums gradients, which are up to hundreds.
    assert_same_state(state.pop("optimizer_states"), one.pop("optimizer_states"), "optimizers", atol=1e-6)
    assert_same_state(state, one, atol=1e-8)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_two_processes_equal_one(attack: type[ExtractionAttack]) -> None:
    compare(attack, 2, ACCOUNTS.get(attack.__name__, OTHERS_ACCOUNT))


@pytest.mark.parametrize(
    ("attack", "processes"),
    [
        pytest.param(
            attack,
            processes,
            id=f"{attack.__name__}-{processes}",
            marks=[] if (attack, processes) == (DFME, 4) else pytest.mark.slow,
        )
        for attack in ATTACKS
        for processes in (4, 8)
    ],
)
def test_many_processes_equal_one(attack: type[ExtractionAttack], processes: int) -> None:
    # Each source of the miniature's clone stages must divide by them, too.
    stages = [f"--model.stages.clone_{stage}" for stage in ("init", "reinit")] if attack is DFMS else []
    more = [word for stage in stages for word in (f"{stage}.set_size", "64", f"{stage}.batch_size", "16")]
    compare(attack, processes, ACCOUNTS_OF_MANY.get(attack.__name__, OTHERS_ACCOUNT), *more)
