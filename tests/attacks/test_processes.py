"""Two processes run the very same algorithm on the very same samples as one."""

import subprocess
import sys
from pathlib import Path

import pytest

from lightning_extract.attacks import ExtractionAttack
from tests.miniature import ATTACKS, config_of
from tests.state import assert_same_state, final_state

SCRIPT = Path(__file__).parent.parent / "float64_fit.py"
# Clones with batch normalisation, which must be synchronised, and a batch with a left-over.
ARGUMENTS = ["--model.clone_training.network", "cnn_2_1", "--model.threat_model.query_budget", "216"]


def run(config: Path, run_dir: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "fit", "--config", str(config), "--run_dir", run_dir, *ARGUMENTS]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_two_processes_equal_one(attack: type[ExtractionAttack]) -> None:
    more = ["--model.threat_model.remainder", "fill"]  # three whole batches and a smaller one
    for run_dir, devices in (("one", "1"), ("two", "2")):
        result = run(config_of(attack), run_dir, "--trainer.devices", devices, *more)
        assert result.returncode == 0, result.stderr[-2000:]
    one, two = final_state(Path("one")), final_state(Path("two"))
    assert one["attack"]["ledger"] == two["attack"]["ledger"]
    assert one["attack"]["answered"] == two["attack"]["answered"] == one["attack"]["ledger"]["by_phase"]["clone"]
    assert_same_state(two, one, atol=1e-6)  # answers are float32: one rounding may flip
