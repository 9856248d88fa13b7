import csv
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_extract.attacks import DisGUIDE
from lightning_extract.callbacks.collapse import CollapseWatchdog
from lightning_extract.callbacks.metrics_file import MetricsFile
from lightning_extract.callbacks.run_summary import RunSummary
from lightning_extract.victims.loading import load_victim
from tests.miniature import config_of, fit
from tests.stand_ins import noise_attack, stand_in_trainer

# What a run that is started again after its end may change: it lasts a moment more or less.
OF_THE_CLOCK = ("wall_time_seconds", "queries_per_second")


def read_summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a finished miniature run: evaluations at 256, 512, 768 and 960 of 1,000 queries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["lightning-extract"])
        folder = tmp_path_factory.mktemp("runs") / "run"
        fit(config_of(DisGUIDE), str(folder))
        yield folder


@pytest.fixture
def rows(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def test_the_account_of_a_run(run: Path) -> None:
    summary = read_summary(run)
    assert summary["status"] == "finished"
    assert summary["queries"] == {
        "budget": 1000,
        "spent": 960,
        "prior": 0,
        "by_phase": {"clone": 960},
        "answered": 960,
        "from_store": 0,
        "after_stop": 0,
        # Each test image once, however often clones are compared with it, and the images of the sample sheet.
        "reference": 1000 + 64,
    }


def test_who_attacked_whom(run: Path) -> None:
    summary, (_, card) = read_summary(run), load_victim("lenet5_mnist5k")
    assert (summary["experiment"], summary["attack"], summary["seed"]) == ("disguide", "DisGUIDE", 0)
    assert (summary["access"], summary["input_space"]) == ("soft", "pre_transform")
    assert summary["victim"]["name"] == "lenet5_mnist5k"
    assert summary["victim"]["weights_sha256"] == card.weights_sha256
    assert summary["victim"]["num_classes"] == 10
    assert summary["victim_accuracy"] == pytest.approx(card.test_accuracy, abs=0.0015)  # measured on these images
    assert torch.__version__.startswith(summary["versions"]["torch"])


def test_labels_of_all_bought_answers_are_counted(run: Path) -> None:
    summary = read_summary(run)
    assert len(summary["label_counts"]) == 10
    assert sum(summary["label_counts"]) == summary["queries"]["spent"] == 960
    assert [name[0] for name in summary["classes"]] == list("0123456789")


def test_final_is_the_last_evaluation(run: Path, rows: list[dict[str, float]]) -> None:
    assert [row["queries"] for row in rows] == [256, 512, 768, 960]
    final = read_summary(run)["final"]
    assert final["queries"] == 960
    assert isinstance(final["queries"], int)
    assert [row["iteration"] for row in rows] == [4, 8, 12, 15]
    assert final.items() <= rows[-1].items()
    assert {"accuracy", "agreement", "kl", "accuracy_clone_0", "agreement_clone_1"} <= final.keys()


def test_best_on_test_is_the_first_of_the_highest(run: Path, rows: list[dict[str, float]]) -> None:
    best = max(rows, key=lambda row: row["accuracy"])
    found = read_summary(run)["best_test"]
    assert (found["queries"], found["accuracy"]) == (best["queries"], best["accuracy"])


def test_best_on_held_out_is_the_last_that_the_attack_selected(run: Path, rows: list[dict[str, float]]) -> None:
    selected = [row for row in rows if row.get("heldout_best")]
    assert read_summary(run)["best_heldout"]["queries"] == selected[-1]["queries"]


def test_goals_are_reported(run: Path) -> None:
    assert read_summary(run)["queries_to_accuracy"] == {"0.01": 256, "1.0": None}


def test_a_finished_run_that_is_started_again_keeps_its_summary(run: Path) -> None:
    before, table = read_summary(run), (run / "metrics.csv").read_bytes()
    fit(config_of(DisGUIDE), str(run))
    after = read_summary(run)
    for name in OF_THE_CLOCK:
        del before[name], after[name]
    assert after == before
    assert (run / "metrics.csv").read_bytes() == table


def test_a_resumed_run_keeps_the_rows_up_to_its_iteration() -> None:
    run = Evaluations()
    run.attack.ledger.charge(1000, "clone")
    run.attack.iterations_done = 5
    for iteration in range(1, 8):
        run.summary.metrics_file.log_metrics({"queries": min(1000.0, 256.0 * iteration), "iteration": iteration})
    run.summary.on_train_start(run.trainer, run.attack)
    run.summary.metrics_file.log_metrics({"queries": 1000.0, "iteration": 8.0})
    with Path("run/metrics.csv").open(newline="") as file:
        assert [int(row["iteration"]) for row in csv.DictReader(file)] == [1, 2, 3, 4, 5, 8]


class Evaluations:
    """A run of 1,000 queries whose evaluations a test makes up."""

    def __init__(self) -> None:
        self.attack = noise_attack(1000, batch_size=64)
        self.trainer = self.attack.trainer = stand_in_trainer(default_root_dir="run")
        made_up = SimpleNamespace(answered=0, from_store=0, referenced=0, all_label_counts=lambda: [3, 5])
        self.attack.oracle = made_up  # type: ignore[assignment]
        _, self.attack.victim_card = load_victim("lenet5_mnist5k")
        self.watchdog = CollapseWatchdog()
        self.summary = RunSummary("toy", 3, MetricsFile(Path("run"), key="iteration"), self.watchdog)

    def at(self, queries: int, **metrics: float) -> dict[str, Any]:
        """Evaluates at a number of queries; returns what the file says then."""
        self.attack.ledger.charge(queries - self.attack.ledger.spent, "clone")
        self.attack.oracle.answered = queries
        values = metrics | {"queries": float(queries)}
        tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
        self.trainer.callback_metrics = tensors
        self.summary.on_validation_end(self.trainer, self.attack)
        return read_summary(Path("run"))


def test_a_tie_keeps_the_earlier_evaluation() -> None:
    run = Evaluations()
    run.at(100, accuracy=0.5)
    run.at(200, accuracy=0.7)
    summary = run.at(300, accuracy=0.7)
    assert summary["best_test"]["queries"] == 200
    assert summary["final"]["queries"] == 300
    assert summary["best_heldout"] is None


def test_selection_by_bought_answers_ignores_the_test_set() -> None:
    run = Evaluations()
    run.at(100, accuracy=0.9, heldout_agreement=0.9, heldout_best=1.0)
    run.at(200, accuracy=0.1, heldout_agreement=0.8, heldout_best=1.0)  # on more answers, where the first did worse
    summary = run.at(300, accuracy=0.2, heldout_agreement=0.95, heldout_best=0.0)
    assert summary["best_heldout"]["queries"] == 200
    assert summary["best_test"]["queries"] == 100


def test_status_says_whether_another_iteration_can_be_paid() -> None:
    run = Evaluations()
    assert run.at(936, accuracy=0.5)["status"] == "unfinished"
    assert run.at(937, accuracy=0.5)["status"] == "finished"


def test_status_of_a_run_that_the_watchdog_has_stopped() -> None:
    run = Evaluations()
    run.watchdog.reports["symptom"] = "symptom since 0"
    assert run.at(500, accuracy=0.1)["status"] == "unfinished"
    run.watchdog.stop = True
    assert run.at(600, accuracy=0.1)["status"] == "collapsed"


def test_free_answers_of_all_processes_are_counted() -> None:
    run = Evaluations()
    run.attack.oracle.referenced = 500
    run.trainer.strategy.reduce = lambda tensor, reduce_op: 2 * tensor if reduce_op == "sum" else tensor
    assert run.at(100, accuracy=0.5)["queries"]["reference"] == 1000


def test_answers_after_the_stop_would_show() -> None:
    run = Evaluations()
    assert run.at(960, accuracy=0.5)["queries"]["after_stop"] == 0
    run.attack.stop_buying()
    run.attack.oracle.answered += 5
    run.summary.on_train_end(run.trainer, run.attack)
    assert read_summary(Path("run"))["queries"]["after_stop"] == 5


def test_reports_of_the_watchdog_are_repeated() -> None:
    run = Evaluations()
    assert run.at(100, accuracy=0.5)["collapse"] == []
    run.watchdog.reports["symptom"] = "symptom since 0"
    run.summary.on_train_end(run.trainer, run.attack)  # after the watchdog has seen the last evaluation
    assert read_summary(Path("run"))["collapse"] == ["symptom since 0"]


def test_other_evaluations_are_not_taken() -> None:
    run = Evaluations()
    run.at(100, accuracy=0.5)
    run.trainer.sanity_checking = True
    assert run.at(200, accuracy=0.9)["final"]["queries"] == 100
    run.trainer.sanity_checking, run.trainer.state.fn = False, "validate"
    assert run.at(300, accuracy=0.9)["final"]["queries"] == 100


def test_only_the_first_process_writes() -> None:
    run = Evaluations()
    run.trainer.is_global_zero = False
    with pytest.raises(FileNotFoundError):
        run.at(100, accuracy=0.5)


def test_state_and_clock_survive_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("lightning_extract.callbacks.run_summary.time", SimpleNamespace(monotonic=lambda: now))
    first = Evaluations()
    first.summary.on_train_start(first.trainer, first.attack)
    now += 60
    assert first.at(300, accuracy=0.5)["wall_time_seconds"] == 60
    state = first.summary.state_dict()

    now += 5000  # the process was killed and waited in a queue
    second = Evaluations()
    second.summary.load_state_dict(state)
    now += 7  # set-up
    second.summary.on_train_start(second.trainer, second.attack)
    now += 40
    summary = second.at(600, accuracy=0.4)
    assert summary["wall_time_seconds"] == 100
    assert summary["queries_per_second"] == 6
    assert summary["best_test"]["queries"] == 300


def test_labels_are_asked_of_every_process_since_they_are_summed() -> None:
    run, asked = Evaluations(), []
    run.attack.oracle.all_label_counts = lambda: asked.append(True) or [6, 10]  # type: ignore[method-assign,func-returns-value]
    assert run.at(100, accuracy=0.5)["label_counts"] == [6, 10]
    run.trainer.is_global_zero = False
    run.summary.on_train_end(run.trainer, run.attack)
    assert len(asked) == 2


def test_classes_are_told_where_the_data_names_them() -> None:
    run = Evaluations()
    assert run.at(100, accuracy=0.5)["classes"] is None
    run.trainer.datamodule = SimpleNamespace(test_set=SimpleNamespace(classes=("cat", "dog")))
    assert run.at(200, accuracy=0.5)["classes"] == ["cat", "dog"]


def test_rounds_are_whole_numbers() -> None:
    run = Evaluations()
    run.at(100, accuracy=0.9, round=0.0, round_end=0.0, heldout_best=0.0)
    summary = run.at(200, accuracy=0.5, round=1.0, round_end=1.0, heldout_best=1.0)
    assert summary["best_heldout"]["queries"] == 200
    values = summary["final"]["round"], summary["final"]["round_end"]
    assert values == (1, 1)
    assert all(isinstance(value, int) for value in values)
