"""ActiveThief against a text victim, through the command line."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_extract.attacks import ActiveThief
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.commands import run_cli
from lightning_extract.oracle import VictimOracle
from tests.attacks.test_contract import Kill
from tests.float64_fit import SCRIPT
from tests.state import assert_same_state, final_state
from tests.text_miniature import ACCOUNT, BUDGET, CLASSES, DIMENSION, VECTORS, WORDS, write_config, write_files

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning's use of jsonargparse

TEXT = "--model.text."


@pytest.fixture(autouse=True)
def _files(_own_folder: None) -> None:
    write_files()
    write_config()


def fit(run: str = "run", *arguments: str) -> Any:
    return run_cli(["fit", "--config", "text.yaml", "--run_dir", run, *arguments]).model


def rows(run: str = "run") -> list[dict[str, str]]:
    with Path(run, "metrics.csv").open() as table:
        return list(csv.DictReader(table))


@pytest.mark.parametrize(
    ("access", "strategies"), [("hard", "[kcenter]"), ("soft", "[uncertainty]"), ("hard", "[random,kcenter]")]
)
def test_a_run_buys_raw_sentences_of_the_pool(access: str, strategies: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    query = VictimOracle.query

    def remember(self: VictimOracle, samples: list[str], phase: str, total: int | None = None) -> torch.Tensor:
        asked.extend(samples)
        return query(self, samples, phase, total)

    monkeypatch.setattr(VictimOracle, "query", remember)
    model = fit(
        "run",
        "--model.selection.strategies",
        strategies,
        "--model.selection.survivors",
        "40",
        "--model.threat_model.access",
        access,
    )
    lines = Path("pool.txt").read_text().splitlines()
    bought = [*model.validation_set.positions.tolist(), *model.training_set.positions.tolist()]
    assert len(set(bought)) == BUDGET
    assert asked == [lines[position] for position in bought]
    assert model.ledger.by_phase == ACCOUNT
    labels = model.oracle.reference(asked).argmax(dim=1)
    assert torch.cat([model.validation_set.labels, model.training_set.labels]).tolist() == labels.tolist()
    assert len(labels.unique()) == CLASSES, "answers that are all the same would show no mistake"
    assert model.training_set.answers.ndim == (1 if access == "hard" else 2)
    assert [row["round"] for row in rows() if row["round_end"] == "1"] == ["0", "1", "2"]
    assert float(rows()[-1]["agreement"]) > 1 / CLASSES
    # The attacker's own vocabulary: capitals are small letters, and every word of the pool has a number.
    assert sorted(model.reader.tokenizer.words) == sorted(["<pad>", "<unk>", *WORDS])


def test_random_words_as_a_pool() -> None:
    model = fit("run", "--data.pool", "uniform_words", "--data.pool_limit", "140", "--data.noise_words", "vectors.txt",
                "--data.noise_lengths", "[1,5]")  # fmt: skip
    assert model.ledger.by_phase == ACCOUNT
    assert {word for sentence in model.pool.sentences for word in sentence.split()} == set(VECTORS)


@pytest.mark.parametrize("static", [True, False])
def test_word_vectors(static: bool) -> None:
    model = fit("run", TEXT + "vectors", "vectors.txt", TEXT + "static", str(static).lower())
    words = model.reader.tokenizer.words
    assert words[-1] == "star", "after the words of the pool"
    (weight,) = [member.embedding.weight.detach() for member in model.clones.members]
    kept = [
        torch.allclose(weight[words.index(word)], torch.full((DIMENSION,), value)) for word, value in VECTORS.items()
    ]
    assert kept == [static] * 3 or (not static and not all(kept))
    assert not weight[0].any()
    trained = sum(
        parameters.numel() for group in model.optimizer_list[0].param_groups for parameters in group["params"]
    )
    assert trained == sum(value.numel() for value in model.clones.parameters()) - static * weight.numel()


def test_rounds_start_from_the_same_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[torch.Tensor] = []
    train_epoch = ActiveThief.train_epoch

    def watch(self: ActiveThief, seed: int) -> float:
        if self.round.epochs == 0:
            starts.append(torch.nn.utils.parameters_to_vector(self.clones.parameters()).detach().clone())
        return train_epoch(self, seed)

    monkeypatch.setattr(ActiveThief, "train_epoch", watch)
    fit("run", TEXT + "vectors", "vectors.txt")
    assert len(starts) == 3
    assert torch.equal(starts[0], starts[1])
    assert torch.equal(starts[0], starts[2])


def test_the_vocabulary_survives_the_checkpoint() -> None:
    before = fit().reader.tokenizer.words
    final = rows()[-1]
    Path("pool.txt").write_text("entirely other words\n")  # whose vocabulary would be another one
    tested = run_cli(["test", "--config", "text.yaml", "--run_dir", "run"])
    assert tested.model.reader.tokenizer.words == before
    for name in ("accuracy", "agreement"):
        assert float(tested.trainer.callback_metrics[name]) == pytest.approx(float(final[name]), abs=1e-6)


def test_test_and_predict_read_neither_pool_nor_vectors() -> None:
    command = ["--config", "text.yaml", "--run_dir", "run", TEXT + "vectors", "vectors.txt"]
    run_cli(["fit", *command])
    for name in ("pool.txt", "vectors.txt"):
        Path(name).unlink()
    tested = run_cli(["test", *command]).trainer.callback_metrics
    assert float(tested["accuracy"]) == pytest.approx(float(rows()[-1]["accuracy"]), abs=1e-6)
    run_cli(["predict", *command])
    with Path("run/predictions.csv").open() as table:
        assert len(list(csv.DictReader(table))) == 60


@pytest.mark.parametrize("after", [2, 7])
def test_a_resumed_run_equals(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = [TEXT + "vectors", "vectors.txt", "--model.dropout", "0.5"]
    fit("whole", *vectors)
    with monkeypatch.context() as patch:
        patch.setattr(QueryAxis, "on_train_batch_start", Kill(after).on_train_batch_start)
        with pytest.raises(InterruptedError):
            fit("killed", *vectors)
    torch.manual_seed(12345)  # a new process has another global random state
    fit("killed", *vectors)
    assert_same_state(final_state(Path("killed")), final_state(Path("whole")))
    assert Path("killed/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()


def test_two_processes_equal_one() -> None:
    # Of 64 sentences a batch of 9 leaves one, of which a process has none.
    more = ["--model.batch_size", "9", TEXT + "vectors", "vectors.txt", "--model.selection.strategies", "[uncertainty]"]
    for run, devices in (("one", "1"), ("two", "2")):
        command = [sys.executable, str(SCRIPT), "fit", "--config", "text.yaml", "--run_dir", run]
        result = subprocess.run(
            [*command, "--trainer.devices", devices, *more], capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stderr[-2000:]
    one, two = final_state(Path("one")), final_state(Path("two"))
    assert two["attack"]["ledger"] == one["attack"]["ledger"]
    assert two["attack"]["ledger"]["by_phase"] == ACCOUNT
    assert_same_state(two, one, atol=1e-6)  # answers are float32: one rounding may flip
    for found, expected in zip(rows("two"), rows("one"), strict=True):
        for name, value in expected.items():
            assert found[name] == value or float(found[name]) == pytest.approx(float(value), abs=1e-5), name
