"""What strategies see of a round's clone, against computations by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_extract.attacks import round_candidates
from lightning_extract.attacks.clone_reader import ImageReader
from lightning_extract.attacks.round_candidates import RoundCandidates, pool_probabilities
from lightning_extract.data.draws import IterationDraws
from lightning_extract.data.pools import ImagePool
from lightning_extract.functional.logits import soft_vote
from lightning_extract.networks import CloneEnsemble
from lightning_extract.selection import DeepFool
from tests.selection.naive_deepfool import naive_distances

CLASSES, POSITIONS, BOUGHT = 4, torch.tensor([3, 0, 7, 8, 11]), torch.tensor([1, 2])
POOL = ImagePool(
    torch.randint(0, 256, (12, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)), seed=0
)


def clone(seed: int) -> nn.Module:
    """Draws itself in train mode, where its probabilities would also hang on the batch."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, CLASSES)
    )


class Passes(nn.Module):
    """Counts the images that the clones have seen."""

    def __init__(self, clones: nn.Module) -> None:
        super().__init__()
        self.clones, self.seen = clones, 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        logits: Tensor = self.clones(images)
        return logits


def attack_of(clones: int = 1) -> Any:
    ensemble = CloneEnsemble(clone(seed) for seed in range(clones)).double().train()
    passes = Passes(ensemble)
    return SimpleNamespace(
        clones=ensemble,
        passes=passes,
        device=torch.device("cpu"),
        dtype=torch.float64,
        trainer=SimpleNamespace(progress_bar_callback=None, is_global_zero=True),
        clone_logits=lambda images: passes(images.double()),
        vote=soft_vote,
    )


def candidates(attack: Any, rank: int = 0, processes: int = 1, deepfool: DeepFool = DeepFool()) -> RoundCandidates:
    reader = ImageReader()
    reader.learn(POOL)
    draws = IterationDraws(5, rank, processes, torch.device("cpu"))
    return RoundCandidates(attack, reader, draws, deepfool, POSITIONS, BOUGHT)


def pixels(positions: Tensor) -> Tensor:
    return POOL.images[positions].double() / 255


def probabilities(attack: Any, positions: Tensor) -> Tensor:
    """Image by image, of every clone in evaluation mode."""
    members = [member.eval() for member in attack.clones.members]
    rows = [[member(2 * image[None] - 1)[0].softmax(0) for member in members] for image in pixels(positions)]
    return torch.stack([torch.stack(row).mean(0) for row in rows]).detach()


@pytest.mark.parametrize("clones", [1, 3])
def test_probabilities_are_those_of_the_evaluated_vote(clones: int) -> None:
    attack = attack_of(clones)
    made = candidates(attack)
    assert made.size == len(POSITIONS)
    assert attack.passes.seen == 0, "nothing is computed before it is asked for"
    found, centres = made.probabilities, made.centres
    assert made.probabilities is found
    assert made.centres is centres
    assert attack.passes.seen == len(POSITIONS) + len(BOUGHT)
    assert not found.requires_grad
    assert_close(found, probabilities(attack, POSITIONS), rtol=0, atol=1e-6)
    assert_close(centres, probabilities(attack, BOUGHT), rtol=0, atol=1e-6)


def test_a_batch_bounds_the_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = candidates(attack_of()).probabilities
    monkeypatch.setattr(round_candidates, "PREDICTION_BATCH", 2)
    assert_close(candidates(attack_of()).probabilities, whole)


@pytest.mark.parametrize("clones", [1, 2])
@pytest.mark.parametrize("settings", [DeepFool(), DeepFool("official")], ids=["textbook", "official"])
def test_distances_are_of_pixels_from_0_to_1(clones: int, settings: DeepFool) -> None:
    attack = attack_of(clones)
    indices = torch.tensor([4, 1, 2])
    found = candidates(attack, deepfool=settings).distances(indices)

    def logits(images: Tensor) -> Tensor:
        answers: list[Tensor] = [member(2 * images - 1) for member in attack.clones.members]
        if len(answers) == 1:
            return answers[0]
        return torch.stack([answer.softmax(1) for answer in answers]).mean(0).log()

    assert_close(found, naive_distances(logits, pixels(POSITIONS[indices]), settings), rtol=1e-5, atol=1e-8)
    assert len(found.unique()) == 3


def test_the_weights_get_no_gradient_and_stay_trainable() -> None:
    attack = attack_of()
    first, *others = attack.clones.parameters()
    first.requires_grad_(False)  # as static word vectors are
    candidates(attack).distances(torch.arange(3))
    assert all(weight.grad is None for weight in attack.clones.parameters())
    assert not first.requires_grad
    assert all(weight.requires_grad for weight in others)


def test_a_failure_leaves_the_weights_trainable() -> None:
    attack = attack_of()

    def fail(images: Tensor) -> Tensor:
        raise ArithmeticError

    attack.clones.forward = fail
    with pytest.raises(ArithmeticError):
        candidates(attack).distances(torch.arange(3))
    assert all(weight.requires_grad for weight in attack.clones.parameters())


def test_processes_draw_alike_and_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = candidates(attack_of())
    indices = torch.tensor([4, 1, 2])
    drawn = torch.rand(5, generator=whole.draws)
    monkeypatch.setattr(round_candidates, "gather_shares", lambda share, count: share)
    shares = [candidates(attack_of(), rank, processes=2) for rank in (0, 1)]
    assert all(torch.equal(torch.rand(5, generator=share.draws), drawn) for share in shares)
    assert [len(share.probabilities) for share in shares] == [2, 3]
    assert_close(torch.cat([share.probabilities for share in shares]), whole.probabilities)
    assert_close(torch.cat([share.distances(indices) for share in shares]), whole.distances(indices))


def test_no_share_of_a_small_purchase_is_an_error() -> None:
    reader = ImageReader()
    reader.learn(POOL)
    nothing = IterationDraws(0, 0, 2, torch.device("cpu"))
    assert pool_probabilities(attack_of(), reader, nothing, torch.tensor([3])).shape == (0, CLASSES)
    assert candidates(attack_of(), 0, processes=2).distances(torch.tensor([0])).shape == (0,)
