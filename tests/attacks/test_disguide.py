"""What is special about DisGUIDE: its generator learns from the clones, and never from the victim."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_extract.attacks import DisGUIDE
from lightning_extract.attacks.settings import CloneTraining
from lightning_extract.data.draws import IterationDraws
from lightning_extract.errors import InputError
from tests.miniature import config_of, fit
from tests.stand_ins import small_disguide

CPU = torch.device("cpu")


def colour_disguide(fraction: float = 0.25) -> DisGUIDE:
    torch.manual_seed(0)
    return small_disguide(channels=3, grayscale_fraction=fraction)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"clone_training": CloneTraining(network="lenet5_half", count=1)},
            "count is 1; disagreement needs at least 2",
        ),
        ({"grayscale_fraction": 0.125}, "grayscale_fraction is 0.125, but images have one channel; set it to 0"),
        ({"grayscale_fraction": 1.5, "channels": 3}, "grayscale_fraction is 1.5; give a share between 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_disguide(**settings)


def test_the_generator_phase_reaches_the_generator_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    to_images = DisGUIDE.to_images

    def watched(self: DisGUIDE, pre_activation: Tensor) -> Tensor:
        images = to_images(self, pre_activation)
        seen.append(
            {
                "phase": "generator" if torch.is_grad_enabled() else "clone",
                "clones_frozen": not any(parameter.requires_grad for parameter in self.clones.parameters()),
                "generator_free": all(parameter.requires_grad for parameter in self.generator.parameters()),
                "modes": (self.generator.training, self.clones.training),
                "images_carry_gradient": images.requires_grad,
                "spent": self.ledger.spent,
            }
        )
        return images

    monkeypatch.setattr(DisGUIDE, "to_images", watched)
    sizes = ["--model.threat_model.query_budget", "128", "--model.generator_training.steps", "2"]
    attack = fit(config_of(DisGUIDE), "run", *sizes).model
    assert [entry["phase"] for entry in seen] == ["generator", "generator", "clone"] * 2
    for entry in seen:
        generating = entry["phase"] == "generator"
        assert entry["clones_frozen"] is generating
        assert entry["generator_free"]
        assert entry["modes"] == ((True, False) if generating else (False, True))
        assert entry["images_carry_gradient"] is generating
    # Two generator steps come before the first query, and buy nothing.
    assert [entry["spent"] for entry in seen] == [0, 0, 0, 64, 64, 64]
    assert attack.ledger.by_phase == {"clone": 128}
    assert attack.replay_buffer.size == 128, "the replay never holds more than the budget can buy"


def test_queries_by_running_statistics_do_not_depend_on_their_batch() -> None:
    attack = colour_disguide(fraction=0.0)
    attack.generator.train()
    attack.draws = IterationDraws(0, 0, 1, CPU)
    whole = attack.make_queries(16)
    assert not attack.generator.training
    shares = []
    for rank in range(2):
        attack.draws = IterationDraws(0, rank, 2, CPU)
        shares.append(attack.make_queries(16))
    assert [len(share) for share in shares] == [8, 8]
    assert_close(torch.cat(shares), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_gray_images_are_those_of_the_global_batch(world_size: int) -> None:
    attack, images = colour_disguide(fraction=0.25), []
    for rank in range(world_size):
        attack.draws = IterationDraws(5, rank, world_size, CPU)
        images.append(attack.make_queries(24))
    is_gray = (torch.cat(images).amax(dim=1) == torch.cat(images).amin(dim=1)).flatten(1).all(dim=1)
    assert is_gray.nonzero().flatten().tolist() == list(range(0, 24, 4))


def test_the_kept_channel_is_drawn_by_the_batch() -> None:
    attack = colour_disguide(fraction=1.0)
    plain = colour_disguide(fraction=0.0)
    plain.load_state_dict(attack.state_dict())
    channels = set()
    for seed in range(12):
        attack.draws, plain.draws = (IterationDraws(seed, 0, 1, CPU) for _ in range(2))
        gray, colour = attack.make_queries(4), plain.make_queries(4)
        kept = [channel for channel in range(3) if torch.equal(gray[:, 0], colour[:, channel])]
        assert len(kept) == 1, "one channel for the whole batch"
        channels.update(kept)
    assert channels == {0, 1, 2}


def test_pixels_lie_where_the_oracle_wants_them() -> None:
    attack = colour_disguide()
    attack.draws = IterationDraws(0, 0, 1, CPU)
    with torch.no_grad():
        trained_on = attack.to_images(attack.generator.pre_activation(attack.latents(32)))
    for images in (attack.make_queries(32), trained_on):
        assert images.shape == (32, 3, 32, 32)
        assert images.abs().max() <= 1


def test_every_network_has_its_own_optimizer() -> None:
    attack = small_disguide()
    for optimizer, network in zip(attack.configure_optimizers()[0], (attack.clones, attack.generator), strict=True):
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        assert held == {id(parameter) for parameter in network.parameters()}
