from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_extract.errors import InputError
from lightning_extract.metrics.evasion import Classifier, Evasion
from lightning_extract.metrics.transfer_measurement import TransferMeasurement, add_noise
from lightning_extract.metrics.transfer_settings import TransferSettings
from tests.metrics.linear_classifier import LinearClassifier, grey_images

ALL = TransferSettings(attacks=("fgsm", "bim", "pgd"), epsilons=(0.05,), batch_size=16)
TWO = LinearClassifier(2)
IMAGES = grey_images(50)
LABELS = TWO(IMAGES).argmax(dim=1)


def turned(images: Tensor) -> Tensor:
    """Another victim, whose weights are orthogonal to those of ``TWO``."""
    weights = TWO.weights[1] - TWO.weights[0]
    other = torch.randn(16, generator=torch.Generator().manual_seed(9))
    other -= other @ weights / (weights @ weights) * weights
    logits = (images / 2).flatten(1) @ other
    return torch.stack([-logits, logits], dim=1).softmax(dim=1)


def measure(settings: TransferSettings, victim: Classifier = TWO, labels: Tensor = LABELS, **others: Any) -> Any:
    return TransferMeasurement(settings).run(TWO, victim, IMAGES, labels, num_classes=2, **others)


def critical_epsilons(norm: str) -> list[float]:
    weights = TWO.weights[1] - TWO.weights[0]
    logits = TWO.logits(IMAGES)
    length = weights.abs().sum() if norm == "inf" else weights.norm()
    return sorted(((logits[:, 1] - logits[:, 0]).abs() / length).tolist())


@pytest.mark.parametrize("norm", ["inf", 2])
@pytest.mark.parametrize("targeted", [False, True])
def test_as_many_flip_as_are_near_enough(norm: Any, targeted: bool) -> None:
    critical = critical_epsilons(norm)
    epsilon = (critical[29] + critical[30]) / 2
    settings = replace(ALL, attacks=("fgsm", "bim"), norm=norm, epsilons=(epsilon,), targeted=targeted)
    for entry in measure(settings):
        assert (entry["samples"], entry["successes"], entry["rate"]) == (50, 30, 0.6)
        assert entry["interval"][0] < 0.6 < entry["interval"][1]


def test_a_clone_that_is_the_victim_transfers_all() -> None:
    for entry in measure(replace(ALL, epsilons=(0.004, 0.02, 0.05), norm=2)):
        assert entry["rate"] == entry["clone_rate"]
    assert {entry["rate"] for entry in measure(ALL)} == {1.0}


def test_noise_is_a_control_that_fools_few() -> None:
    for entry in measure(ALL):
        assert entry["noise_rate"] < 0.5 * entry["rate"]


def test_what_the_clone_knows_nothing_of_is_not_transferred() -> None:
    labels = turned(IMAGES).argmax(dim=1)
    settings = replace(ALL, attacks=("fgsm",), norm=2, epsilons=(0.05,))
    (entry,) = measure(settings, turned, labels)
    assert entry["rate"] == 0, "the attack moves along the boundary of the victim"
    assert entry["noise_rate"] > 0
    assert entry["clone_rate"] > 0.4


def test_settings_stand_in_every_entry() -> None:
    found = measure(replace(ALL, epsilons=(0.01, 0.05), seed=5))
    assert [(entry["name"], entry["epsilon"]) for entry in found] == [
        (name, epsilon) for name in ("fgsm", "bim", "pgd") for epsilon in (0.01, 0.05)
    ]
    assert {(entry["norm"], entry["targeted"], entry["seed"]) for entry in found} == {("inf", False, 5)}


def test_the_share_of_each_process_is_its_own() -> None:
    settings = replace(ALL, epsilons=(0.01,))
    whole = measure(settings)
    parts = [measure(settings, rank=rank, world_size=3) for rank in range(3)]
    assert [entry["samples"] for entry in whole] == [50] * 3
    for key in ("samples", "successes"):
        summed = [sum(entry[key] for entry in entries) for entries in zip(*parts, strict=True)]
        assert summed == [entry[key] for entry in whole]


def test_targets_are_other_classes_drawn_by_the_seed() -> None:
    labels = torch.arange(4000) % 5
    draw = TransferMeasurement(replace(ALL, targeted=True, seed=1))._targets(labels, 5)
    again, other = (TransferMeasurement(replace(ALL, seed=seed))._targets(labels, 5) for seed in (1, 2))
    assert torch.equal(draw, again)
    assert not torch.equal(draw, other)
    for distance in range(1, 5):
        assert ((draw - labels) % 5 == distance).sum().item() == pytest.approx(1000, abs=150)
    assert not (draw == labels).any()


def test_it_works_in_inference_mode_and_leaves_the_images() -> None:
    with torch.inference_mode():
        images, labels = grey_images(10), LABELS[:10].clone()
        before = images.clone()
        found = TransferMeasurement(ALL).run(TWO, TWO, images, labels, num_classes=2)
        assert torch.is_inference_mode_enabled()
    assert torch.equal(images, before)
    assert [entry["samples"] for entry in found] == [10] * 3


# Noise.


@pytest.mark.parametrize("norm", ["inf", 2])
def test_noise_has_the_attacks_size(norm: Any) -> None:
    evasion = Evasion("fgsm", norm, 0.2, targeted=False, steps=1, step_size=1.0, restarts=1)
    images = grey_images(200)
    moved = (add_noise(images, evasion, (0, 0)) - images).flatten(1) / 2
    if norm == "inf":
        torch.testing.assert_close(moved.abs(), torch.full_like(moved, 0.2))
        assert (moved > 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    else:
        torch.testing.assert_close(moved.norm(dim=1), torch.full((200,), 0.2))
        assert moved.mean(dim=0).norm() < 0.03
    assert not torch.equal(add_noise(images, evasion, (0, 1)), add_noise(images, evasion, (0, 0)))
    assert add_noise(2 * images.sign() / 2, evasion, (0, 0)).abs().max() == 1


# Settings.


def test_steps_that_reach_the_boundary() -> None:
    fgsm, bim, pgd = TransferSettings(attacks=("fgsm", "bim", "pgd"), steps=40, restarts=3).evasions()
    assert (fgsm.steps, fgsm.step_size, fgsm.restarts) == (1, 1.0, 1)
    assert (bim.steps, bim.step_size, bim.restarts) == (40, 2.5 / 40, 1)
    assert (pgd.steps, pgd.step_size, pgd.restarts) == (40, 2.5 / 40, 3)
    assert TransferSettings(attacks=("bim",), steps=2).evasions()[0].step_size == 1
    assert TransferSettings(attacks=("bim",), step_size=0.1).evasions()[0].step_size == 0.1


def test_the_usual_epsilon_hangs_on_the_norm() -> None:
    assert [evasion.epsilon for evasion in TransferSettings(attacks=("fgsm",)).evasions()] == [8 / 255]
    assert [evasion.epsilon for evasion in TransferSettings(attacks=("fgsm",), norm=2).evasions()] == [0.5]
    assert TransferSettings().evasions() == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attacks": ("cw",)}, "transfer.attacks has 'cw'; give one of fgsm, bim, pgd"),
        ({"norm": 1}, "transfer.norm has 1; give one of inf, 2"),
        ({"epsilons": (0.1, 0.0)}, r"transfer.epsilons are \[0.1, 0.0\]; give sizes above 0"),
        ({"epsilons": (float("nan"),)}, "give sizes above 0"),
        ({"epsilons": (8.0,)}, "in norm inf give at most 1"),
        ({"steps": 0}, "transfer.steps is 0; give a whole number from 1"),
        ({"restarts": 0}, "transfer.restarts is 0; give a whole number from 1"),
        ({"samples": -1}, "transfer.samples is -1; give a whole number from 0"),
        ({"batch_size": 0}, "transfer.batch_size is 0"),
        ({"seed": -1}, "transfer.seed is -1"),
        ({"step_size": 1.5}, "transfer.step_size is 1.5; give a share of epsilon above 0 and up to 1"),
    ],
)
def test_impossible_settings_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TransferSettings(**given)


def test_norm_2_may_exceed_one() -> None:
    assert TransferSettings(norm=2, epsilons=(2.0,)).epsilons == (2.0,)
