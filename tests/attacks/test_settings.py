import dataclasses

import pytest

from lightning_extract.attacks.settings import CloneTraining, GeneratorTraining, ReplaySettings, Schedule


def test_defaults_are_the_published_ones() -> None:
    clones, replay, schedule, generator = CloneTraining(), ReplaySettings(), Schedule(), GeneratorTraining()
    assert (clones.network, clones.count, clones.steps, clones.soft_loss) == ("resnet18_8x", 2, 1, "l1")
    assert (replay.size, replay.batches) == (1_000_000, 3)
    assert (schedule.milestones, schedule.factor) == ((0.4, 0.8), 0.3)
    assert (generator.latent_dim, generator.steps) == (256, 1)


@pytest.mark.parametrize("group", [CloneTraining, GeneratorTraining, ReplaySettings, Schedule])
def test_a_default_that_is_shared_by_attacks_cannot_be_changed(group: type) -> None:
    settings = group()
    name = dataclasses.fields(settings)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, name, 1)
