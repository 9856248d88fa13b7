import warnings
from typing import Any

import pytest
import torch

from lightning_extract.attacks import ExtractionAttack
from lightning_extract.callbacks.collapse import CollapseWatchdog
from lightning_extract.errors import InputError
from lightning_extract.victims.loading import load_victim
from tests.stand_ins import noise_attack, stand_in_trainer

CHANCE = "clone 1 agrees with the victim at chance level"
ONE_CLASS = "the victim puts the queries into one class"


class Evaluations:
    """A run of 1,000 queries that is evaluated where a test says."""

    def __init__(self, watchdog: CollapseWatchdog) -> None:
        self.watchdog, self.attack, self.trainer = watchdog, noise_attack(1000), stand_in_trainer()
        _, self.attack.victim_card = load_victim("lenet5_mnist5k")

    def at(self, queries: int, agreements: tuple[float, float] = (0.9, 0.9), top_share: float = 0.2) -> list[str]:
        """Evaluates at a number of queries; returns the warnings."""
        ledger = self.attack.ledger
        ledger.charge(queries - ledger.spent, "clone")
        values = {f"agreement_clone_{i}": value for i, value in enumerate(agreements)} | {"label_top_share": top_share}
        self.trainer.callback_metrics = {name: torch.tensor(value) for name, value in values.items()}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.watchdog.on_validation_end(self.trainer, self.attack)
        return [str(warning.message) for warning in caught]


def test_a_symptom_must_last() -> None:
    run = Evaluations(CollapseWatchdog(patience=0.2))
    assert run.at(100, (0.9, 0.1)) == []
    assert run.at(199, (0.9, 0.1)) == []
    assert run.at(200, (0.9, 0.1)) == [f"COLLAPSE: {CHANCE} since 0 of 1,000 queries (seen at 200)"]
    assert run.watchdog.reports == {CHANCE: f"{CHANCE} since 0 of 1,000 queries"}
    assert not run.trainer.should_stop


def test_a_healthy_evaluation_starts_the_patience_anew() -> None:
    run = Evaluations(CollapseWatchdog(patience=0.2))
    run.at(150, (0.9, 0.1))
    run.at(190)
    assert run.at(389, (0.9, 0.1)) == []
    assert len(run.at(390, (0.9, 0.1))) == 1
    assert "since 190 of 1,000" in run.watchdog.reports[CHANCE]


def test_it_is_reported_once() -> None:
    run = Evaluations(CollapseWatchdog(patience=0.2))
    run.at(300, (0.9, 0.1))
    assert run.at(600, (0.9, 0.1)) == []
    assert len(run.at(800, (0.1, 0.1))) == 1  # the other clone is another symptom
    assert len(run.watchdog.reports) == 2


def test_queries_in_one_class_are_a_symptom() -> None:
    run = Evaluations(CollapseWatchdog(patience=0.2, top_share=0.95))
    run.at(300, top_share=0.949)
    assert run.watchdog.reports == {}
    assert len(run.at(500, top_share=0.951)) == 1
    assert run.watchdog.reports == {ONE_CLASS: f"{ONE_CLASS} since 300 of 1,000 queries"}


@pytest.mark.parametrize(("agreement", "reported"), [(0.144, True), (0.146, False)])
def test_chance_has_a_margin(agreement: float, reported: bool) -> None:
    run = Evaluations(CollapseWatchdog(patience=0.2, margin=0.05))  # 0.1 + 0.05 * 0.9
    assert bool(run.at(500, (0.9, agreement))) is reported


def test_stop_ends_the_run_and_keeps_it_ended() -> None:
    run = Evaluations(CollapseWatchdog(patience=0.2, stop=True))
    run.at(100, (0.9, 0.1))
    assert not run.trainer.should_stop
    run.at(300, (0.9, 0.1))
    assert run.trainer.should_stop
    again = CollapseWatchdog(patience=0.2, stop=True)
    again.load_state_dict(run.watchdog.state_dict())
    trainer = stand_in_trainer()
    again.on_train_start(trainer, run.attack)
    assert trainer.should_stop


def test_a_healthy_run_is_started_again() -> None:
    trainer = stand_in_trainer()
    CollapseWatchdog(stop=True).on_train_start(trainer, noise_attack())
    assert not trainer.should_stop


def test_a_stop_of_somebody_else_is_kept() -> None:
    run = Evaluations(CollapseWatchdog(patience=0.2))
    run.trainer.should_stop = True
    run.at(300, (0.9, 0.1))
    assert run.trainer.should_stop


def test_state_survives_a_checkpoint() -> None:
    run = Evaluations(CollapseWatchdog(patience=0.2))
    run.at(300, (0.9, 0.1))
    run.at(400, (0.1, 0.1))
    state = run.watchdog.state_dict()
    run.watchdog = CollapseWatchdog(patience=0.2)
    run.watchdog.load_state_dict(state)
    assert run.at(499, (0.1, 0.1)) == []  # clone 1 was reported before, clone 0 was healthy until 300
    assert len(run.at(500, (0.1, 0.1))) == 1
    assert state["reports"] == {CHANCE: f"{CHANCE} since 0 of 1,000 queries"}, "the state is no view"


def test_a_run_that_recovers_is_not_called_collapsed() -> None:
    run = Evaluations(CollapseWatchdog(patience=0.2))
    assert len(run.at(300, (0.9, 0.1))) == 1
    assert run.watchdog.reports
    run.at(400, (0.9, 0.9))
    assert run.watchdog.reports == {}


def test_other_evaluations_are_not_its_business() -> None:
    run = Evaluations(CollapseWatchdog(patience=0.2))
    run.trainer.sanity_checking = True
    assert run.at(500, (0.1, 0.1)) == []
    run.trainer.sanity_checking, run.trainer.state.fn = False, "validate"
    assert run.at(600, (0.1, 0.1)) == []
    assert run.watchdog.reports == {}


@pytest.mark.parametrize(("name", "value"), [("patience", 0.0), ("margin", 1.5), ("top_share", -0.1)])
def test_impossible_shares_are_refused(name: str, value: float) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(InputError, match=f"collapse.{name} is {value}"):
        CollapseWatchdog(**arguments)


def test_stand_in_is_a_real_attack() -> None:
    assert isinstance(Evaluations(CollapseWatchdog()).attack, ExtractionAttack)


def test_clones_are_judged_from_the_time_when_they_began_to_learn() -> None:
    run = Evaluations(CollapseWatchdog(patience=0.2))
    run.attack.learning_since = None
    assert run.at(500, (0.1, 0.1)) == []
    run.attack.learning_since = 500
    assert run.at(600, (0.1, 0.1)) == []
    assert run.at(699, (0.9, 0.1)) == []
    assert run.at(700, (0.9, 0.1)) == [f"COLLAPSE: {CHANCE} since 500 of 1,000 queries (seen at 700)"]
