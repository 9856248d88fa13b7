import io
import re
from typing import Any

import pytest
import torch

from lightning_extract.attacks import SurrogateDistillation
from lightning_extract.attacks.settings import CloneTraining
from lightning_extract.attacks.work import Work
from lightning_extract.callbacks.progress import QueryProgressBar
from tests.stand_ins import NoiseAttack, noise_attack, stand_in_trainer, threat_model


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


def bars(screen: io.StringIO) -> list[str]:
    """The last state of every bar, without rates and times."""
    lines = [line.rsplit("\r", 1)[-1] for line in screen.getvalue().split("\n")]
    return [re.sub(r"%\|.*\| |\[.*?(?=, [a-z]+=|\])", "% ", line).strip() for line in lines if line.strip()]


def surrogate(budget: int, passes: int) -> Any:
    """Buys 100 samples an iteration; each pass after the first trains on all of them, 100 an iteration."""
    small = CloneTraining(network="lenet5_half", count=1, heldout_every=0)
    return SurrogateDistillation(threat_model(budget), small, passes=passes)


def test_what_trains_on_after_its_purchases_gets_a_bar_of_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    bar, trainer, attack = QueryProgressBar("toy"), stand_in_trainer(), surrogate(budget=250, passes=3)
    bar.on_train_start(trainer, attack)
    found = [attack.work]
    while not attack.finished:
        attack.ledger.charge(100 if attack.iterations_done < 2 else 0, "clone")
        attack.iterations_done += 1
        end_batch(bar, trainer, attack)
        found.append(attack.work)
    bar.on_train_end(trainer, attack)
    buying = [Work("", spent, 250, " queries") for spent in (0, 100)]
    assert found == [*buying, *(Work("", done, 6, " iterations") for done in (2, 3, 4, 5, 6))]
    # The last 50 queries pay no iteration.
    assert bars(screen) == ["toy:  80% 200/250 % ]", "toy: 100% 6/6 % , queries=200]"]


@pytest.mark.parametrize(("done", "expected"), [(1, "100/250"), (4, "4/6"), (6, "6/6")])
def test_a_resumed_run_opens_the_bar_that_it_left(done: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    bar, trainer, attack = QueryProgressBar("toy"), stand_in_trainer(), surrogate(budget=250, passes=3)
    attack.iterations_done = done
    attack.ledger.charge(100 * min(done, 2), "clone")
    bar.on_train_start(trainer, attack)
    bar.on_train_end(trainer, attack)
    (only,) = bars(screen)
    assert f" {expected} " in only


def test_a_single_pass_has_a_single_bar() -> None:
    attack = surrogate(budget=200, passes=1)
    for done in range(3):
        attack.iterations_done = done
        assert attack.work.unit == " queries"


class Staged(NoiseAttack):
    """Says itself how far it has come."""

    now = Work("gan", 0, 4, " iterations")

    @property
    def work(self) -> Work:
        return self.now


STAGES = [  # queries that an iteration buys, and where the attack stands then
    *((0, Work("gan", done, 4, " iterations")) for done in (1, 2, 3)),
    (0, Work("clone_init", 0, 300, " queries")),
    (140, Work("clone_init", 140, 300, " queries")),
    (140, Work("diversity", 0, 2, " iterations")),
    (0, Work("diversity", 1, 2, " iterations")),
    (0, Work("alternating", 280, 1000, " queries")),
    (720, Work("alternating", 1000, 1000, " queries")),
]


def staged() -> Staged:
    attack = noise_attack(1000)
    attack.__class__ = Staged
    assert isinstance(attack, Staged)
    return attack


def test_every_stage_has_a_bar_that_is_closed_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    bar, trainer, attack = QueryProgressBar("toy"), stand_in_trainer(), staged()
    metrics = {"agreement": torch.tensor(0.5), "accuracy": torch.tensor(0.25)}
    bar.on_train_start(trainer, attack)
    for count, now in STAGES:
        attack.ledger.charge(count, "clone")
        attack.now = now
        end_batch(bar, trainer, attack)
        assert bar.bar is not None
        assert (bar.bar.n, bar.bar.total, bar.bar.unit) == now[1:4]
        trainer.callback_metrics = metrics if now.title == "clone_init" else {}
        bar.on_validation_end(trainer, attack)
    bar.on_train_end(trainer, attack)
    quality = "agreement=0.500, accuracy=0.250"
    assert f"?, ? iterations/s, queries=280, {quality}]" in screen.getvalue(), "a new bar shows it at once"
    assert bars(screen) == [
        "toy gan: 100% 4/4 % , queries=0]",
        f"toy clone_init:  93% 280/300 % , {quality}]",
        f"toy diversity: 100% 2/2 % , queries=280, {quality}]",
        f"toy alternating: 100% 1000/1000 % , {quality}]",
    ]


def test_other_processes_show_no_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    bar, trainer, attack = QueryProgressBar("toy"), stand_in_trainer(), staged()
    bar.disable()
    bar.on_train_start(trainer, attack)
    for _, attack.now in STAGES:
        end_batch(bar, trainer, attack)
    bar.on_train_end(trainer, attack)
    assert screen.getvalue() == ""


@pytest.mark.parametrize("change", [{"title": "b"}, {"total": 9}, {"unit": " queries"}, {}])
def test_only_more_of_the_same_continues(change: dict[str, Any]) -> None:
    work = Work("a", 1, 8, " iterations")
    assert work._replace(done=2, **change).continues(work) == (not change)


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
