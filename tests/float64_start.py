"""A run in float64 within the test's process, and its networks as they were before the first iteration."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lightning_extract.attacks import DataFreeAttack, threat_model
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.data.draws import Iteration
from lightning_extract.networks import CLASSIFIERS
from tests.float64_fit import load_float64_victim, use_float64
from tests.miniature import fit

TINY = ["--model.clone_training.network", "tiny"]


def tiny_classifier(num_classes: int, channels: int, image_size: int) -> nn.Module:
    """The smallest network with batch normalisation: float64 convolutions are slow."""
    convolution = nn.Conv2d(channels, 4, 5, stride=4)
    return nn.Sequential(
        convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * (image_size // 4 - 1) ** 2, num_classes)
    )


def fit_in_float64(
    config: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[Any, dict[str, nn.ModuleList | nn.Module]]:
    """Runs ``fit`` in float64 with clones named ``tiny`` and one evaluation, at the end.

    Returns:
        The attack after the run, and copies of its ``generator`` (if any) and ``clones`` from before.
    """
    start: dict[str, nn.ModuleList | nn.Module] = {}
    training_step = DataFreeAttack.training_step

    def remember_start(self: DataFreeAttack, iteration: Iteration, batch_idx: int) -> None:
        if iteration.number == 0:
            start["clones"] = deepcopy(self.clones.members)
            if self.generator_training is not None:
                start["generator"] = deepcopy(self.generator)
        training_step(self, iteration, batch_idx)

    with monkeypatch.context() as patch:
        patch.setitem(CLASSIFIERS, "tiny", tiny_classifier)
        patch.setattr(threat_model, "load_victim", load_float64_victim)
        patch.setattr(QueryAxis, "setup", use_float64)
        patch.setattr(DataFreeAttack, "training_step", remember_start)
        attack = fit(config, "run", "--data.iterations_per_epoch", "1000", *TINY, *arguments).model
    return attack, start


def victim_logits(attack: Any, images: torch.Tensor) -> torch.Tensor:
    """What the shipped victim of grey digits says of images in [-1, 1], asked past the oracle."""
    with torch.no_grad():
        logits: torch.Tensor = attack.oracle._network(((images.float() + 1) / 2 - 0.1307) / 0.3081).float()
    return logits


def assert_same_weights(found: nn.Module, expected: nn.Module, before: nn.Module, atol: float = 1e-8) -> None:
    """Compares weights and statistics of two networks, and looks that they are no longer those from before."""
    for name, value in expected.state_dict().items():
        if not value.is_floating_point():
            continue  # the count of batches, which slow versions do not follow
        assert_close(found.state_dict()[name], value, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")
    moved = [not torch.equal(value, before.state_dict()[name]) for name, value in expected.named_parameters()]
    assert all(moved), "a parameter was never trained"
