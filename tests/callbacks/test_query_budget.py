"""Published budgets at their full size, through the real account, attack and callback but without networks' work."""

import pytest
import torch

from lightning_extract.attacks.settings import CloneTraining
from lightning_extract.callbacks.query_budget import QueryBudget
from lightning_extract.oracle import QueryBudgetExceeded
from tests.stand_ins import noise_attack, small_disguide, stand_in_trainer
from tests.till import run_out, without_work


@pytest.mark.parametrize(
    ("budget", "iterations", "left"),
    [(20_000_000, 78_125, 0), (10_000_000, 39_062, 128), (8_000_000, 31_250, 0), (1000, 3, 232)],
)
def test_disguide_at_batch_256(budget: int, iterations: int, left: int) -> None:
    attack = small_disguide(budget, batch_size=256)
    trainer = without_work(attack)
    assert run_out(attack, trainer) == iterations
    assert attack.ledger.by_phase == {"clone": iterations * 256}
    assert attack.ledger.remaining == left
    assert attack.answered_at_stop == budget - left


def test_fill_spends_the_remainder_in_a_last_smaller_iteration() -> None:
    attack = small_disguide(10_000_000, batch_size=256, remainder="fill")
    assert run_out(attack, without_work(attack)) == 39_063
    assert attack.ledger.remaining == 0


def test_fill_ends_in_the_middle_of_an_iteration_of_several_steps() -> None:
    attack = noise_attack(
        1000, batch_size=64, remainder="fill", clone_training=CloneTraining(network="lenet5_half", steps=5)
    )
    assert attack.queries_per_iteration == 320
    assert run_out(attack, without_work(attack)) == 4
    assert attack.ledger.remaining == 0


def test_steps_multiply_the_cost() -> None:
    attack = noise_attack(1000, batch_size=64, clone_training=CloneTraining(network="lenet5_half", steps=5))
    assert run_out(attack, without_work(attack)) == 3
    assert attack.ledger.spent == 960


@pytest.mark.parametrize(("remainder", "spent"), [("stop", 768), ("fill", 1000)])
def test_two_processes_spend_what_one_does(remainder: str, spent: int) -> None:
    attack = small_disguide(1000, batch_size=256, remainder=remainder)
    run_out(attack, without_work(attack, world_size=2))
    assert attack.ledger.spent == attack.oracle.answered == spent


def test_the_last_batch_is_one_that_the_processes_can_share() -> None:
    attack = small_disguide(1001, batch_size=256, remainder="fill")
    attack.trainer = stand_in_trainer(world_size=2)
    attack.ledger.charge(768, "clone")
    assert attack.affordable(256) == 232
    assert attack.affordable(100) == 100
    assert attack.affordable(256, queries_each=3) == 76  # 77 could be paid


def test_stop_never_shrinks_a_batch() -> None:
    attack = small_disguide(1001, batch_size=256)
    attack.trainer = stand_in_trainer()
    attack.ledger.charge(1000, "clone")
    assert attack.affordable(256) == 256  # the callback stops before it is bought


def test_fill_leaves_what_cannot_be_split_and_ends() -> None:
    attack = small_disguide(1001, batch_size=256, remainder="fill")  # refused at set-up, but must never hang
    run_out(attack, without_work(attack, world_size=2))
    assert attack.ledger.remaining == 1


def test_nothing_is_sold_after_the_stop() -> None:
    attack = small_disguide(1000, batch_size=256)
    run_out(attack, without_work(attack))
    with pytest.raises(QueryBudgetExceeded, match="closed at 768 of 1,000"):
        attack.oracle.query(torch.empty(1, 1), "clone")
    assert attack.oracle.answered == attack.answered_at_stop == 768


def test_a_run_without_means_does_not_start() -> None:
    attack = small_disguide(1000, batch_size=256)
    trainer = without_work(attack)
    attack.ledger.charge(800, "clone")
    QueryBudget().on_train_start(trainer, attack)
    assert trainer.should_stop
    assert trainer.check_val_every_n_epoch == 1  # the end is evaluated, whatever the interval
    assert attack.oracle.answered == 0


def test_a_run_with_means_goes_on() -> None:
    attack = small_disguide(1000, batch_size=256)
    trainer = without_work(attack)
    attack.ledger.charge(744, "clone")
    QueryBudget().on_train_start(trainer, attack)
    QueryBudget().on_train_batch_end(trainer, attack, None, None, 0)
    assert not trainer.should_stop
    attack.oracle.query(torch.empty(256, 1), "clone")
