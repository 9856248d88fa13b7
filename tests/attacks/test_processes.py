"""Two processes run the very same algorithm on the very same samples as one."""

import subprocess
import sys
from pathlib import Path

import pytest

from lightning_extract.attacks import ExtractionAttack
from tests.miniature import ATTACKS, config_of
from tests.state import assert_same_state, final_state

SCRIPT = Path(__file__).parent.parent / "float64_fit.py"
# Clones with batch normalisation, which must be synchronised, and a budget whose remainder is spent, too.
ARGUMENTS = ["--model.clone_training.network", "cnn_2_1", "--model.threat_model.remainder", "fill"]
# A difference divides the rounding of the answers, which are float32, by epsilon: 1e-3 would show it in the weights.
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
OTHERS_ACCOUNT = {"clone": 216}  # a whole iteration, or three, and a smaller one


def run(config: Path, run_dir: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "fit", "--config", str(config), "--run_dir", run_dir, *ARGUMENTS]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_two_processes_equal_one(attack: type[ExtractionAttack]) -> None:
    account = ACCOUNTS.get(attack.__name__, OTHERS_ACCOUNT)
    budget = sum(account.values())
    more = [
        "--model.threat_model.query_budget",
        str(budget),
        *(DIFFERENCES if attack.__name__ in ("DFME", "MAZE") else []),
    ]
    for run_dir, devices in (("one", "1"), ("two", "2")):
        result = run(config_of(attack), run_dir, "--trainer.devices", devices, *more)
        assert result.returncode == 0, result.stderr[-2000:]
    one, two = final_state(Path("one")), final_state(Path("two"))
    assert one["attack"]["ledger"] == two["attack"]["ledger"]
    assert one["attack"]["oracle"]["answered"] == two["attack"]["oracle"]["answered"] == budget
    assert one["attack"]["ledger"]["by_phase"] == account
    assert_same_state(two, one, atol=1e-6)  # answers are float32: one rounding may flip
