"""What is special about attacks without data: replay, held-out answers, schedule and losses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_extract.attacks import DataFreeAttack
from lightning_extract.attacks.settings import CloneTraining, ReplaySettings, Schedule
from lightning_extract.data.draws import IterationDraws, mix_seed
from lightning_extract.data.replay import ReplayBuffer
from lightning_extract.errors import InputError
from lightning_extract.functional.logits import soft_vote
from lightning_extract.functional.losses import (
    distillation_loss,
    hard_cross_entropy,
    recovered_logit_loss,
    soft_cross_entropy,
)
from lightning_extract.oracle import VictimOracle, victim_queries
from lightning_extract.victims.loading import load_victim
from tests.stand_ins import noise_attack, small_disguide, stand_in_trainer

CPU = torch.device("cpu")


def small_clones(**others: Any) -> CloneTraining:
    return CloneTraining(network="lenet5_half", **others)


def ready(attack: DataFreeAttack, world_size: int = 1) -> list[Tensor]:
    """Gives an attack its oracle and replay but no optimizers; returns the list of batches that clones learn."""
    attack.trainer = stand_in_trainer(world_size=world_size)
    network, card = load_victim("lenet5_mnist5k")
    attack.victim_card = card
    model = attack.threat_model
    queries = victim_queries("lenet5_mnist5k", card)
    attack.oracle = VictimOracle(network, 10, queries, model.access, attack.ledger, world_size)
    soft = model.access == "soft"
    attack.replay_buffer = ReplayBuffer(attack.replay.size, model.image_shape, (10,) if soft else ())
    learnt: list[Tensor] = []
    attack.imitate = lambda samples, answers: learnt.append(samples)  # type: ignore[method-assign]
    return learnt


def select(attack: DataFreeAttack) -> dict[str, Tensor]:
    """What an evaluation asks of the answers set aside."""
    return attack.heldout.select(attack.clones, lambda logits: attack.vote(logits).argmax(dim=1))


def iterate(attack: DataFreeAttack, iterations: int) -> None:
    for number in range(iterations):
        attack.draws = IterationDraws(mix_seed(0, number), 0, 1, CPU)
        attack.clone_phase(number)


def fingerprints(batches: list[Tensor]) -> set[float]:
    return {float(sample.double().sum()) for batch in batches for sample in batch}


def test_held_out_batches_are_never_trained_on_nor_replayed() -> None:
    attack = noise_attack(
        1000, batch_size=8, replay=ReplaySettings(size=1000), clone_training=small_clones(heldout_every=5, steps=2)
    )
    learnt = ready(attack)
    iterate(attack, 12)
    assert attack.heldout.answers.seen == 2  # the first batch of iterations 4 and 9
    assert len(learnt) == 24 - 2
    assert attack.replay_buffer is not None
    replayed, _ = attack.replay_buffer.read(list(range(len(attack.replay_buffer))), CPU)
    held_out = fingerprints([samples for samples, _ in attack.heldout.answers.batches])
    assert len(held_out) == 16
    assert not held_out & fingerprints(learnt)
    assert fingerprints([replayed]) == fingerprints(learnt)
    assert attack.ledger.spent == 12 * 2 * 8  # they are paid like all others


def test_without_held_out_answers_all_is_learnt() -> None:
    attack = noise_attack(
        1000, batch_size=8, replay=ReplaySettings(size=1000), clone_training=small_clones(heldout_every=0)
    )
    learnt = ready(attack)
    iterate(attack, 3)
    assert len(learnt) == 3
    assert not attack.heldout.answers.batches


def test_held_out_agreement_is_that_of_the_soft_vote() -> None:
    attack = noise_attack(1000, batch_size=50, clone_training=small_clones(heldout_every=2))
    ready(attack)
    iterate(attack, 6)
    with torch.no_grad():
        samples = torch.cat([samples for samples, _ in attack.heldout.answers.batches])
        victim = attack.oracle.reference(samples).argmax(dim=1)
        vote = sum(member(samples).softmax(dim=1) for member in attack.clones.members).argmax(dim=1)
    found = select(attack)["heldout_agreement"]
    assert len(samples) == 150
    assert found == (vote == victim).float().mean()
    attack.heldout.answers.batches = [(samples, vote)]  # labels, as hard access gives them
    assert select(attack)["heldout_agreement"] == 1


def test_selection_compares_the_best_so_far_on_the_same_answers() -> None:
    attack = noise_attack(1000, batch_size=50, clone_training=small_clones(heldout_every=2))
    ready(attack)
    iterate(attack, 6)
    assert select(attack)["heldout_best"] == 1
    good = {name: value.clone() for name, value in attack.clones.state_dict().items()}
    samples, _ = attack.heldout.answers.batches[0]
    with torch.no_grad():
        attack.heldout.answers.batches = [(samples, soft_vote(attack.clones(samples)).argmax(dim=1))]
        for value in attack.clones.parameters():
            value.copy_(torch.randn_like(value))
    row = select(attack)
    assert row["heldout_best"] == 0
    assert row["heldout_agreement"] < 1
    assert all(torch.equal(value, good[name]) for name, value in attack.heldout.best.items())


def test_replay_draws_distinct_samples_of_what_was_bought() -> None:
    attack = noise_attack(1000, batch_size=8, replay=ReplaySettings(size=1000, batches=3))
    learnt = ready(attack)
    attack.replay_phase()
    assert learnt == [], "an empty replay trains nothing"
    iterate(attack, 4)
    bought = fingerprints(learnt)
    learnt.clear()
    attack.replay_phase()
    assert [len(fingerprints([batch])) for batch in learnt] == [8, 8, 8]
    assert fingerprints(learnt) <= bought
    assert attack.ledger.spent == 32


@pytest.mark.parametrize(("filled", "world_size", "share"), [(5, 1, 5), (5, 2, 2), (100, 2, 8)])
def test_a_replay_below_one_batch_is_drawn_as_far_as_it_divides(filled: int, world_size: int, share: int) -> None:
    attack = noise_attack(1000, batch_size=16 if world_size == 2 else 8, replay=ReplaySettings(size=1000, batches=1))
    learnt = ready(attack, world_size)
    attack.draws = IterationDraws(0, 0, world_size, CPU)
    assert attack.replay_buffer is not None
    attack.replay_buffer.add(torch.zeros(filled, 1, 32, 32), torch.zeros(filled, 10))
    attack.replay_phase()
    assert [len(batch) for batch in learnt] == [share]


def test_two_processes_replay_the_same_global_batch() -> None:
    drawn = []
    for rank, world_size in ((0, 1), (0, 2), (1, 2)):
        attack = noise_attack(1000, batch_size=8, replay=ReplaySettings(size=1000, batches=1))
        learnt = ready(attack, world_size)
        attack.draws = IterationDraws(3, rank, world_size, CPU)
        assert attack.replay_buffer is not None
        attack.replay_buffer.add(torch.arange(50.0)[:, None, None, None].expand(-1, 1, 32, 32), torch.zeros(50, 10))
        attack.replay_phase()
        drawn.append(learnt[0][:, 0, 0, 0])
    assert torch.equal(torch.cat(drawn[1:]), drawn[0])


@pytest.mark.parametrize(
    ("spent", "factor"), [(0, 1), (7_999_999, 1), (8_000_000, 0.3), (15_999_999, 0.3), (16_000_000, 0.09)]
)
def test_rates_drop_at_the_very_milestones(spent: int, factor: float) -> None:
    attack = noise_attack(20_000_000)
    attack.ledger.charge(spent, "clone")
    assert attack.schedule.rate(attack.progress) == pytest.approx(factor)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_one_schedule_for_all_networks() -> None:
    attack = small_disguide(1000, schedule=Schedule(milestones=(0.5,), factor=0.1))
    optimizers, schedulers = attack.configure_optimizers()
    attack.ledger.charge(500, "clone")
    for scheduler in schedulers:
        scheduler.step()
    assert [group["lr"] for optimizer in optimizers for group in optimizer.param_groups] == pytest.approx([3e-3, 1e-5])


@pytest.mark.parametrize(
    ("access", "soft_loss", "expected"),
    [
        ("soft", "l1", recovered_logit_loss),
        ("soft", "cross_entropy", soft_cross_entropy),
        ("soft", "kl", distillation_loss),
        ("hard", "l1", hard_cross_entropy),
    ],
)
def test_loss_follows_access_and_setting(access: str, soft_loss: Any, expected: Any) -> None:
    attack = noise_attack(1000, access=access, clone_training=small_clones(soft_loss=soft_loss))
    logits = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    answers = logits.flip(1).argmax(dim=1) if access == "hard" else logits.flip(1).softmax(dim=1)
    assert_close(attack.clone_loss(logits, answers), expected(logits, answers))


def test_clones_differ_by_their_initialisation() -> None:
    first, second = noise_attack().clones.members
    for (name, mine), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert not torch.equal(mine, other), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"replay": ReplaySettings(size=63)}, "replay.size 63 is below batch_size 64"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        noise_attack(1000, **settings)


def test_replay_may_be_off_whatever_its_size() -> None:
    assert noise_attack(1000, replay=ReplaySettings(size=1, batches=0)).replay_buffer is None


def test_state_holds_account_replay_and_held_out_answers(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"replay": ReplaySettings(size=20), "clone_training": small_clones(heldout_every=3)}
    original, restored = (noise_attack(1000, batch_size=8, **settings) for _ in range(2))
    for attack in (original, restored):
        ready(attack)
        attack.trainer.default_root_dir = str(tmp_path)
    iterate(original, 7)
    original.victim_accuracy = 0.75
    torch.save(original.attack_state(), tmp_path / "state.pt")
    restored.load_attack_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert restored.ledger.by_phase == {"clone": 56}
    assert restored.oracle.answered == 56
    assert restored.victim_accuracy == 0.75
    assert restored.heldout.answers.seen == 2
    buffers = [attack.replay_buffer for attack in (restored, original)]
    for found, expected in zip(*(buffer.read(list(range(20)), CPU) for buffer in buffers if buffer), strict=True):
        assert torch.equal(found, expected)


def test_a_checkpoint_of_something_else_is_refused() -> None:
    with pytest.raises(
        InputError, match="the checkpoint lacks 'attack': another attack or version made it; use another"
    ):
        noise_attack().on_load_checkpoint({"state_dict": {}})
