"""What is bought when, and how long a round trains."""

import pytest
import torch
from torch import nn

from lightning_extract.attacks.round_checks import check_purchases
from lightning_extract.attacks.round_state import RoundState
from lightning_extract.attacks.rounds import EarlyStopping, Rounds, Selection, TextClones
from lightning_extract.errors import InputError

# The table of the fact sheet: budget, validation, seed, each of ten rounds.
PAPER = [
    (10_000, 2_000, 1_000, 700),
    (15_000, 3_000, 1_500, 1_050),
    (20_000, 4_000, 2_000, 1_400),
    (25_000, 5_000, 2_500, 1_750),
    (30_000, 6_000, 3_000, 2_100),
]


@pytest.mark.parametrize(("budget", "validation", "seed", "each"), PAPER)
def test_the_purchases_are_the_papers(budget: int, validation: int, seed: int, each: int) -> None:
    assert Rounds().purchases(budget, remainder_too=False) == (validation, seed, [each] * 10)


def test_twenty_rounds_halve_the_purchase() -> None:
    assert Rounds(count=20).purchases(10_000, remainder_too=False) == (2_000, 1_000, [350] * 20)


@pytest.mark.parametrize("budget", [10_000, 30_000])
def test_no_rounds_buy_everything_at_once(budget: int) -> None:
    assert Rounds(count=0).purchases(budget, remainder_too=False) == (budget // 5, budget - budget // 5, [])


def test_what_does_not_divide_is_left_or_bought_last() -> None:
    rounds = Rounds(count=3)
    assert rounds.purchases(1_003, remainder_too=False) == (201, 100, [234] * 3)
    assert rounds.purchases(1_000, remainder_too=True) == (200, 100, [233, 233, 234])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda: Rounds(count=-1), r"rounds.count is -1; give 0"),
        (lambda: Rounds(seed_share=0), r"rounds.seed_share is 0; give a share"),
        (lambda: Rounds(validation_pool=1), r"rounds.validation_pool is 1; give a share"),
        (lambda: Rounds(seed_share=0.5, validation_share=0.5), r"leave nothing to select"),
        (lambda: check_purchases(10, 2, 1, [0] * 8, 1), r"budget of 10 queries does not pay the 8 rounds .* 0 a round"),
        (
            lambda: check_purchases(100, 20, 3, [9] * 8, 4),
            r"3 to start with and 9 a round, for 4 processes; raise query",
        ),
        (lambda: EarlyStopping(epochs=0), r"early_stopping.epochs is 0; give at least 1"),
        (lambda: EarlyStopping(patience=0), r"early_stopping.patience is 0; give at least 1"),
        (lambda: EarlyStopping(restart_above=-1.0), r"early_stopping.restart_above is -1.0; give a loss"),
        (lambda: Selection(strategies=()), r"selection.strategies is empty"),
        (lambda: Selection(survivors=0), r"selection.survivors is 0; give at least 1"),
        (lambda: TextClones(vocabulary=2), r"text.vocabulary is 2; give at least 3"),
        (lambda: TextClones(sentence_length=4), r"text.sentence_length is 4; give at least 5"),
    ],
)
def test_impossible_settings_are_refused(settings: object, message: str) -> None:
    assert callable(settings)
    with pytest.raises(InputError, match=message):
        settings()


def weights(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, value)
    return layer


def test_a_round_ends_after_the_patience_and_hands_on_the_best_weights() -> None:
    state = RoundState(EarlyStopping(epochs=100, patience=2))
    state.open_next()
    for epoch, score in enumerate((0.1, 0.5, 0.5, 0.4)):
        assert not state.exhausted
        state.note_epoch(score, loss=1.0, clones=weights(epoch))
    assert state.exhausted
    clones = weights(9.0)
    state.close(clones)
    assert state.closed
    assert clones.weight.item() == 1.0, "the first of two equal scores"


def test_a_round_ends_after_its_most_epochs() -> None:
    state = RoundState(EarlyStopping(epochs=3, patience=50))
    state.open_next()
    for _ in range(3):
        assert not state.exhausted
        state.note_epoch(0.0, loss=1.0, clones=weights(0.0))
    assert state.exhausted


def test_a_high_loss_puts_the_end_off() -> None:
    state = RoundState(EarlyStopping(epochs=100, patience=3, restart_above=1.5))
    state.open_next()
    # The best score is the first; the patience is spent after three more epochs, and begins anew at a high loss only.
    for loss in (2.0, 2.0, 1.0, 2.0, 1.0, 1.0):
        state.note_epoch(0.0, loss, weights(0.0))
        assert not state.exhausted
    state.note_epoch(0.0, 1.4, weights(0.0))
    assert state.exhausted


def test_a_state_survives_a_checkpoint() -> None:
    state = RoundState(EarlyStopping(patience=5))
    state.open_next()
    state.note_epoch(0.3, 1.0, weights(3.0))
    state.note_epoch(0.2, 1.0, weights(4.0))
    other = RoundState(EarlyStopping(patience=5))
    other.load_state_dict(state.state_dict(), torch.device("cpu"))
    assert (other.number, other.closed, other.epochs, other.stale) == (0, False, 2, 1)
    assert (other.score, other.best_score) == (0.2, 0.3)
    clones = weights(0.0)
    other.close(clones)
    assert clones.weight.item() == 3.0
