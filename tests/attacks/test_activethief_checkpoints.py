"""What a checkpoint of ActiveThief keeps, and when it is refused."""

import csv
import json
import re
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest
import torch

from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.commands import run_cli
from lightning_extract.data import segments
from lightning_extract.durable_file import write_durably
from lightning_extract.networks import CLASSIFIERS
from tests.attacks.test_activethief import CONFIG, DROPPING, KCENTER, dropping_classifier, rows
from tests.attacks.test_contract import Kill
from tests.command_line import complaint
from tests.miniature import fit
from tests.state import assert_same_state, final_state

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning's use of jsonargparse


def pool_file(seed: int = 0) -> Path:
    path = Path("pool.npy")
    np.save(path, np.random.default_rng(seed).integers(0, 256, (300, 1, 32, 32), np.uint8))
    return path


@pytest.fixture
def of_file() -> list[str]:
    """Arguments of a run on a pool in a file."""
    return [*KCENTER[4:], "--data.pool", str(pool_file())]


def kill(monkeypatch: pytest.MonkeyPatch, after: int, run: str, *arguments: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(QueryAxis, "on_train_batch_start", Kill(after).on_train_batch_start)
        with pytest.raises(InterruptedError):
            fit(CONFIG, run, *arguments)
    torch.manual_seed(12345)  # a new process has another global random state


def test_test_and_predict_read_no_pool(of_file: list[str]) -> None:
    fit(CONFIG, "run", *of_file)
    final = rows()[-1]
    Path("pool.npy").unlink()
    command = ["--config", str(CONFIG), "--run_dir", "run", *of_file]
    tested = run_cli(["test", *command]).trainer.callback_metrics
    for name in ("accuracy", "agreement"):
        assert float(tested[name]) == pytest.approx(float(final[name]), abs=1e-6)
    run_cli(["predict", *command])
    with Path("run/predictions.csv").open() as table:
        assert len(list(csv.DictReader(table))) == 1000


@pytest.mark.parametrize(("interval", "after"), [("3", 5), ("7", 16)])
def test_a_resumed_run_equals(interval: str, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLASSIFIERS, "dropping", dropping_classifier)
    more = [*KCENTER, *DROPPING, "--data.iterations_per_epoch", interval, "--model.early_stopping.epochs", "9",
            "--model.early_stopping.patience", "4"]  # fmt: skip
    fit(CONFIG, "whole", *more)
    kill(monkeypatch, after, "killed", *more)
    fit(CONFIG, "killed", *more)
    assert_same_state(final_state(Path("killed")), final_state(Path("whole")))
    assert Path("killed/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()


def test_purchases_lie_beside_the_checkpoint_and_are_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def write(path: Path, content: bytes) -> None:
        written.append(path)
        write_durably(path, content)

    monkeypatch.setattr(segments, "write_durably", write)
    fit(CONFIG, "run", *KCENTER)
    validation, *training = written
    assert validation.parent.name == "validation"
    assert [path.parent.name for path in training] == ["training"] * 3, "the seed and two rounds"
    assert set(written) == set(Path("run/bought").rglob("*.safetensors"))
    state = final_state(Path("run"))["attack"]
    ends = [int(path.stem.split("_")[1]) for path in (validation, training[-1])]
    assert ends == [state[name]["count"] for name in ("validation_set", "training_set")]


def test_a_finished_run_needs_no_purchases() -> None:
    fit(CONFIG, "run", *KCENTER)
    rmtree("run/bought")
    kept = {path: path.read_bytes() for path in (Path("run/metrics.csv"), Path("run/checkpoints/last.ckpt"))}
    for command in ("fit", "test"):
        run_cli([command, "--config", str(CONFIG), "--run_dir", "run", *KCENTER])
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_run_without_its_purchases_does_not_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [*KCENTER, "--data.iterations_per_epoch", "2"]
    kill(monkeypatch, 5, "run", *more)
    Path("run/bought").rename("elsewhere")
    message = complaint(capsys, "fit", "--config", CONFIG, "--run_dir", "run", *more)
    assert re.fullmatch(
        r".*run/bought/validation lacks the samples from 0 to \d+, which the run folder of the checkpoint has; .*",
        message,
    )
    Path("elsewhere").rename("run/bought")
    changed = next(Path("run/bought/training").iterdir())
    content = changed.read_bytes()
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    message = complaint(capsys, "fit", "--config", CONFIG, "--run_dir", "run", *more)
    assert message.endswith(
        f"bought/training/{changed.name} has another checksum; restore it or start a new run folder"
    )
    changed.write_bytes(content)
    fit(CONFIG, "run", *more)
    fit(CONFIG, "whole", *more)
    assert_same_state(final_state(Path("run")), final_state(Path("whole")))


def test_a_pool_that_changed_is_refused_on_resume(
    of_file: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [*of_file, "--data.iterations_per_epoch", "2", "--model.early_stopping.epochs", "6",
            "--model.early_stopping.patience", "6"]  # fmt: skip
    kill(monkeypatch, 5, "run", *more)
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    pool_file(seed=1)
    message = complaint(capsys, "fit", "--config", CONFIG, "--run_dir", "run", *more)
    assert message.endswith(
        "the pool is not the one that this run began with: its size or its samples have changed; restore it, or start "
        "in a new run folder"
    )
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before
    pool_file()
    fit(CONFIG, "run", *more)
    assert json.loads(Path("run/summary.json").read_text())["status"] == "finished"
