import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_extract.errors import InputError
from lightning_extract.metrics.evasion import Evasion, EvasionCrafter, fools, require_toolbox
from tests.metrics.linear_classifier import SHAPE, LinearClassifier, grey_images

FGSM = Evasion("fgsm", "inf", 0.1, targeted=False, steps=1, step_size=1.0, restarts=1)
BIM = replace(FGSM, name="bim", steps=10, step_size=0.25)
PGD = replace(BIM, name="pgd")
CPU = torch.device("cpu")
SEED = (0, 0)
attacks = pytest.mark.parametrize("evasion", [FGSM, BIM, PGD], ids=lambda evasion: evasion.name)


def crafter_of(classifier: LinearClassifier) -> EvasionCrafter:
    return EvasionCrafter(classifier, SHAPE, len(classifier.bias), CPU)


def moves(images: Tensor, crafted: Tensor) -> Tensor:
    """How far each pixel in [0, 1] went."""
    return (crafted - images).flatten(1) / 2


def margins(classifier: LinearClassifier, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of two classes: the images' labels, ``|w.p + b|``, and the weights ``w``, which point to class 1."""
    logits = classifier.logits(images)
    distance = logits[:, 1] - logits[:, 0]
    return (distance > 0).long(), distance.abs(), classifier.weights[1] - classifier.weights[0]


@attacks
@pytest.mark.parametrize("targeted", [False, True])
def test_norm_inf_moves_every_pixel_by_epsilon_against_the_weights(evasion: Evasion, targeted: bool) -> None:
    classifier, images = LinearClassifier(2), grey_images(20)
    labels, _, weights = margins(classifier, images)
    classes = 1 - labels if targeted else labels  # of two classes both lead the same way
    crafted = crafter_of(classifier).craft(replace(evasion, targeted=targeted), images, classes, SEED)
    expected = 0.1 * torch.where(labels[:, None] == 1, -1, 1) * weights.sign()
    torch.testing.assert_close(moves(images, crafted), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("evasion", [FGSM, BIM], ids=lambda evasion: evasion.name)
@pytest.mark.parametrize("targeted", [False, True])
def test_norm_2_moves_along_the_weights(evasion: Evasion, targeted: bool) -> None:
    classifier, images = LinearClassifier(2), grey_images(20)
    labels, _, weights = margins(classifier, images)
    classes = 1 - labels if targeted else labels
    crafted = crafter_of(classifier).craft(replace(evasion, norm=2, targeted=targeted), images, classes, SEED)
    expected = 0.1 * torch.where(labels[:, None] == 1, -1, 1) * weights / weights.norm()
    torch.testing.assert_close(moves(images, crafted), expected, rtol=0, atol=1e-6)


def test_pgd_in_norm_2_comes_to_the_same_place_from_any_start() -> None:
    classifier, images = LinearClassifier(2), grey_images(20)
    labels, _, weights = margins(classifier, images)
    evasion = replace(PGD, norm=2, steps=100, step_size=0.1)
    crafted = crafter_of(classifier).craft(evasion, images, labels, SEED)
    expected = 0.1 * torch.where(labels[:, None] == 1, -1, 1) * weights / weights.norm()
    torch.testing.assert_close(moves(images, crafted), expected, rtol=0, atol=1e-4)


@attacks
@pytest.mark.parametrize("norm", ["inf", 2])
@pytest.mark.parametrize("targeted", [False, True])
def test_the_decision_flips_at_the_distance_to_the_boundary(evasion: Evasion, norm: Any, targeted: bool) -> None:
    classifier, images = LinearClassifier(2), grey_images(20)
    labels, distance, weights = margins(classifier, images)
    critical = distance / (weights.abs().sum() if norm == "inf" else weights.norm())
    assert 1e-4 < critical.min() < critical.max() < 0.3
    crafter, classes = crafter_of(classifier), 1 - labels if targeted else labels
    for i in range(len(images)):
        for share, flips in ((0.99, False), (1.01, True)):
            tried = replace(evasion, norm=norm, epsilon=share * float(critical[i]), targeted=targeted)
            if evasion.name == "pgd" and norm == 2:
                tried = replace(tried, steps=60, step_size=0.2)  # leaves its random start behind
            crafted = crafter.craft(tried, images[i : i + 1], classes[i : i + 1], SEED)
            assert bool(classifier(crafted).argmax() != labels[i]) is flips, (i, share)


@pytest.mark.parametrize("norm", ["inf", 2])
@pytest.mark.parametrize("targeted", [False, True])
def test_of_many_classes_the_first_step_follows_the_loss(norm: Any, targeted: bool) -> None:
    classifier, images = LinearClassifier(5), grey_images(20)
    labels = classifier(images).argmax(dim=1)
    classes = (labels + 1) % 5 if targeted else labels
    gradient = classifier.loss_gradient(images, classes).flatten(1) * (-1 if targeted else 1)
    expected = gradient.sign() if norm == "inf" else gradient / gradient.norm(dim=1, keepdim=True)
    crafted = crafter_of(classifier).craft(replace(FGSM, norm=norm, targeted=targeted), images, classes, SEED)
    torch.testing.assert_close(moves(images, crafted), 0.1 * expected, rtol=0, atol=1e-5)
    chances = [classifier(batch).gather(1, classes[:, None]).squeeze(1) for batch in (images, crafted)]
    assert ((chances[1] > chances[0]) == targeted).all()


@attacks
@pytest.mark.parametrize("norm", ["inf", 2])
def test_pixels_stay_in_their_range(evasion: Evasion, norm: Any) -> None:
    classifier = LinearClassifier(2)
    images = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(1)).round(decimals=1) * 2 - 1
    labels, _, weights = margins(classifier, images)
    epsilon = 0.3 if norm == "inf" else 1.2
    evasion = replace(evasion, norm=norm, epsilon=epsilon)
    crafted = crafter_of(classifier).craft(evasion, images, labels, SEED)
    assert crafted.abs().max() == 1
    moved = moves(images, crafted)
    assert (moved.abs().amax(dim=1) if norm == "inf" else moved.norm(dim=1)).max() <= epsilon + 1e-6
    if norm == "inf":
        towards = torch.where(labels[:, None] == 1, -1, 1) * weights.sign()
        torch.testing.assert_close(crafted.flatten(1), (images.flatten(1) + 0.6 * towards).clamp(-1, 1))


def test_a_restart_is_for_those_that_do_not_yet_fool(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, images = LinearClassifier(2), grey_images(4)
    labels, distance, weights = margins(classifier, images)
    labels = torch.cat([labels[:3], 1 - labels[3:]])  # the last is no image of its class: it fools as it is
    epsilon = 1.01 * float((distance / weights.abs().sum())[:3].sort().values[1])
    crafter = crafter_of(classifier)
    batches: list[int] = []
    original = crafter._generate
    monkeypatch.setattr(crafter, "_generate", lambda *given: batches.append(len(given[1])) or original(*given))
    crafted = crafter.craft(replace(PGD, epsilon=epsilon, restarts=3), images, labels, SEED)
    assert batches[0] == 4
    assert batches[1:] == [int((~fools(classifier(crafted), labels, targeted=False)).sum())] * 2
    assert batches[1] < 3


def test_random_starts_are_seeded_and_leave_numpy_alone() -> None:
    classifier, images = LinearClassifier(5), grey_images(8)
    labels = classifier(images).argmax(dim=1)
    crafter, evasion = crafter_of(classifier), replace(PGD, norm=2, steps=1, step_size=0.01)
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    one, again = (crafter.craft(evasion, images, labels, (3, 1)) for _ in range(2))
    other = crafter.craft(evasion, images, labels, (3, 2))
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    torch.testing.assert_close(one, again, rtol=0, atol=0)
    assert not torch.equal(one, other)
    assert not torch.equal(moves(images, one)[0], moves(images, one)[1])


def test_who_is_fooled() -> None:
    answers = torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0]])
    assert fools(answers, torch.tensor([0, 0]), targeted=False).tolist() == [False, True]
    assert fools(answers, torch.tensor([2, 1]), targeted=True).tolist() == [False, True]


def test_without_the_toolbox(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "art" or name.startswith("art.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "art", None)  # what Python makes of a package that is not there
    with pytest.raises(InputError, match=r"run pip install -e '\.\[transfer\]'"):
        require_toolbox()
