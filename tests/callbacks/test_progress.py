import io
from typing import Any

import pytest
import torch

from lightning_extract.callbacks.progress import QueryProgressBar
from tests.stand_ins import noise_attack, stand_in_trainer


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Takes the place of the screen; no fixture, since pytest sets its own between set-up and test."""
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "160")
    return screen


def end_batch(bar: QueryProgressBar, trainer: Any, attack: Any) -> None:
    bar.on_train_batch_end(trainer, attack, None, None, 0)


def test_it_counts_queries_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    bar, trainer, attack = QueryProgressBar("toy"), stand_in_trainer(), noise_attack(1000)
    attack.ledger.charge(100, "clone")  # a resumed run
    bar.on_train_start(trainer, attack)
    assert bar.bar is not None
    assert (bar.bar.n, bar.bar.total) == (100, 1000)
    for count, phase in ((64, "clone"), (300, "generator"), (0, "clone")):
        attack.ledger.charge(count, phase)
        end_batch(bar, trainer, attack)
        assert bar.bar.n == attack.ledger.spent
    bar.on_train_end(trainer, attack)
    assert "toy:  46%" in screen.getvalue()
    assert "464/1000" in screen.getvalue()


def test_it_shows_agreement_and_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    bar, attack = QueryProgressBar("toy"), noise_attack(1000)
    metrics = {"agreement": torch.tensor(0.91234), "accuracy": torch.tensor(0.5), "kl": torch.tensor(2.0)}
    trainer = stand_in_trainer(callback_metrics=metrics)
    bar.on_validation_end(trainer, attack)  # before training there is no bar
    bar.on_train_start(trainer, attack)
    bar.on_validation_end(trainer, attack)
    bar.on_train_end(trainer, attack)
    assert "agreement=0.912, accuracy=0.500" in screen.getvalue()
    assert "kl" not in screen.getvalue()


def test_other_processes_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    bar, trainer, attack = QueryProgressBar("toy"), stand_in_trainer(), noise_attack(1000)
    bar.disable()
    bar.on_train_start(trainer, attack)
    attack.ledger.charge(64, "clone")
    end_batch(bar, trainer, attack)
    bar.on_train_end(trainer, attack)
    assert screen.getvalue() == ""


def test_an_error_frees_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    bar, trainer, attack = QueryProgressBar("toy"), stand_in_trainer(), noise_attack(1000)
    bar.on_exception(trainer, attack, RuntimeError())
    bar.on_train_start(trainer, attack)
    bar.on_exception(trainer, attack, RuntimeError())
    assert screen.getvalue().endswith("\n")


def test_a_log_file_gets_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    bar, trainer, attack = QueryProgressBar("toy"), stand_in_trainer(), noise_attack(1_000_000)
    bar.on_train_start(trainer, attack)
    assert bar.bar is not None
    for _ in range(1000):
        attack.ledger.charge(256, "clone")
        end_batch(bar, trainer, attack)
    assert log.getvalue().count("\r") == 1
    assert bar.bar.maxinterval >= bar.bar.mininterval == 30  # or tqdm's monitor redraws earlier
    bar.on_train_end(trainer, attack)
    assert "256000/1000000" in log.getvalue()
