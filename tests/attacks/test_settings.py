import dataclasses
import math
from typing import Any

import pytest

from lightning_extract.attacks.settings import (
    NO_REPLAY,
    CloneTraining,
    ForwardDifferences,
    GeneratorTraining,
    ReplaySettings,
    Schedule,
    WeightAveraging,
)
from lightning_extract.errors import InputError

GROUPS = [CloneTraining, GeneratorTraining, ReplaySettings, Schedule, ForwardDifferences, WeightAveraging]


def test_defaults_are_the_published_ones() -> None:
    clones, replay, schedule, generator = CloneTraining(), ReplaySettings(), Schedule(), GeneratorTraining()
    assert (clones.network, clones.count, clones.steps, clones.soft_loss) == ("resnet18_8x", 2, 1, "l1")
    assert (replay.size, replay.batches, replay.stored) == (1_000_000, 3, "all")
    assert (schedule.milestones, schedule.factor, schedule.shape) == ((0.4, 0.8), 0.3, "steps")
    assert (generator.latent_dim, generator.steps, generator.affine) == (256, 1, False)
    assert (ForwardDifferences().directions, ForwardDifferences().epsilon) == (1, 1e-3)
    assert (WeightAveraging().every, WeightAveraging().momentum, WeightAveraging().generator) == (10, 0.9, False)
    assert NO_REPLAY.batches == 0


@pytest.mark.parametrize("group", GROUPS)
def test_a_default_that_is_shared_by_attacks_cannot_be_changed(group: type) -> None:
    settings = group()
    name = dataclasses.fields(settings)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, name, 1)


@pytest.mark.parametrize(
    ("group", "values", "message"),
    [
        (CloneTraining, {"count": 0}, "clone_training.count is 0 and .* give at least 1"),
        (CloneTraining, {"steps": 0}, "clone_training.steps 0; give at least 1"),
        (CloneTraining, {"heldout_every": 1}, "heldout_every is 1, which leaves nothing to train on"),
        (CloneTraining, {"heldout_every": -1}, "heldout_every is -1; give 0 to train on all answers"),
        (CloneTraining, {"temperature": 0.0, "soft_loss": "kl"}, "temperature is 0.0; give a number above 0"),
        (CloneTraining, {"temperature": math.inf, "soft_loss": "kl"}, "temperature is inf; give a number above 0"),
        (CloneTraining, {"temperature": math.nan, "soft_loss": "kl"}, "temperature is nan; give a number above 0"),
        (CloneTraining, {"temperature": 3.0}, "temperature is 3.0, but soft_loss l1 has none; set soft_loss to kl"),
        (CloneTraining, {"class_capacity": 1}, "class_capacity is 1; give at least 2"),
        (GeneratorTraining, {"steps": 0}, "generator_training.steps is 0; give at least 1"),
        (ReplaySettings, {"batches": -1}, "replay.batches is -1; give 0 to switch replay off"),
        (Schedule, {"milestones": (0.4, 1.0)}, r"schedule.milestones are \(0.4, 1.0\); give shares"),
        (Schedule, {"milestones": (0.0,)}, r"schedule.milestones are \(0.0,\); give shares"),
        (Schedule, {"factor": 0.0}, "schedule.factor is 0.0; give a factor above 0"),
        (Schedule, {"factor": math.nan}, "schedule.factor is nan; give a factor above 0"),
        (ForwardDifferences, {"directions": 0}, "differences.directions is 0; give at least 1"),
        (ForwardDifferences, {"epsilon": 0.0}, "differences.epsilon is 0.0; give a step between 1e-6 and 1"),
        (ForwardDifferences, {"epsilon": 2.0}, "differences.epsilon is 2.0; give a step"),
        (ForwardDifferences, {"epsilon": math.nan}, "differences.epsilon is nan; give a step"),
        (WeightAveraging, {"every": -1}, "averaging.every is -1; give 0 to switch averaging off"),
        (WeightAveraging, {"momentum": 1.0}, "averaging.momentum is 1.0; give a share of at least 0 and below 1"),
    ],
)
def test_impossible_values_are_refused(group: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        group(**values)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("steps", {0.0: 1, 0.0999: 1, 0.1: 0.3, 0.3: 0.09, 0.4999: 0.09, 0.5: 0.027, 1.0: 0.027}),
        ("cosine", {0.0: 1, 0.25: 0.8535534, 1 / 3: 0.75, 0.5: 0.5, 2 / 3: 0.25, 1.0: 0}),
        ("triangle", {0.0: 0, 0.25: 0.5, 0.5: 1, 0.75: 0.5, 0.9: 0.2, 1.0: 0}),
    ],
)
def test_rates_over_the_budget(shape: Any, expected: dict[float, float]) -> None:
    schedule = Schedule(milestones=(0.1, 0.3, 0.5), shape=shape)
    assert [schedule.rate(share) for share in expected] == pytest.approx([*expected.values()], abs=1e-7)
