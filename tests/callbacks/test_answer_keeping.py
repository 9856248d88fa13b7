"""A run that is killed asks the victim nothing twice and ends as if nothing had been."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from torch import Tensor

from lightning_extract.cli import main
from lightning_extract.oracle.answer_store import AnswerStore, digests_of
from lightning_extract.oracle.oracle import VictimOracle
from lightning_extract.oracle.queries import Samples
from tests import text_miniature
from tests.command_line import CONFIGS, complaint
from tests.miniature import CONF, fit
from tests.state import assert_same_state, final_state

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning's use of jsonargparse

LOG = Path("asked.txt")
KEEP = ("--keep_answers", "true")
ROOT = Path(__file__).parent.parent.parent
ask, add = VictimOracle._ask, AnswerStore.add


def log_samples(self: VictimOracle, samples: Samples, phase: str, at_once: bool) -> tuple[Tensor, Tensor]:
    """Writes down what the victim is asked for money."""
    if not self._free:
        with LOG.open("a") as file:
            file.writelines(f"{digest.hex()}\n" for digest in digests_of(samples))
    return ask(self, samples, phase, at_once)


def fit_and_be_killed(batch: int, config: str) -> None:
    """Runs until a batch is stored and its answers are not yet used; called in a process of its own."""
    stored = []

    def add_and_die(self: AnswerStore, digests: list[bytes], answers: Tensor) -> None:
        add(self, digests, answers)
        stored.append(len(digests))
        if len(stored) == batch:
            os.kill(os.getpid(), signal.SIGKILL)

    with patch.object(VictimOracle, "_ask", log_samples), patch.object(AnswerStore, "add", add_and_die):
        main(["fit", "--config", config, "--run_dir", "run", *KEEP])


def killed_run(config: Path, batch: int) -> None:
    code = f"from {__name__} import fit_and_be_killed; fit_and_be_killed({batch}, {str(config)!r})"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == -signal.SIGKILL, process.stderr[-3000:]


# Batches of which some come after the last checkpoint: of 15, of 10, and of 4.
@pytest.mark.parametrize(("name", "batch"), [("disguide", 7), ("active_thief", 6), ("text", 3)])
def test_a_killed_run_asks_nothing_twice(name: str, batch: int) -> None:
    if name == "text":
        text_miniature.write_files()
        text_miniature.write_config()
    config = Path("text.yaml") if name == "text" else CONF / f"{name}.yaml"
    killed_run(config, batch)
    before = LOG.read_text().split()
    with patch.object(VictimOracle, "_ask", log_samples):
        oracle = fit(config, "run", *KEEP).model.oracle
    asked = LOG.read_text().split()
    assert len(before) < len(asked) == len(set(asked)) == oracle.answered
    assert oracle.from_store > 0, "killed too early to prove anything"
    whole = fit(config, "whole").model.oracle
    assert whole.answered == whole.ledger.spent == oracle.ledger.spent >= oracle.answered
    mine, its = final_state(Path("run")), final_state(Path("whole"))
    if name == "text":  # the pool holds some sentences twice
        del mine["attack"]["oracle"]["answered"], its["attack"]["oracle"]["answered"]
    assert_same_state(mine, its)
    assert Path("run/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()
    assert not Path("whole/answers").exists()


def test_a_finished_run_that_is_started_again_asks_nothing() -> None:
    arguments = ("--model.threat_model.access", "hard", *KEEP)
    fit(CONF / "disguide.yaml", "run", *arguments)
    size = Path("run/answers/rank_0.bin").stat().st_size
    oracle = fit(CONF / "disguide.yaml", "run", *arguments).model.oracle
    assert (oracle.answered, oracle.from_store) == (960, 0)
    assert Path("run/answers/rank_0.bin").stat().st_size == size


def test_a_damaged_store_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run/answers").mkdir(parents=True)
    Path("run/answers/rank_0.bin").write_bytes(b"answers")
    assert complaint(capsys, "fit", "--config", CONF / "disguide.yaml", "--run_dir", "run", *KEEP) == (
        "run/answers/rank_0.bin is damaged or no file of answers; remove it, and what it held is asked again"
    )


def test_a_victim_that_is_trained_asks_none(capsys: pytest.CaptureFixture[str]) -> None:
    message = complaint(capsys, "fit", "--config", CONFIGS / "victim_lenet5_mnist5k.yaml", *KEEP)
    assert message == "keep_answers is true, but this config trains a victim, which asks none; remove it"
