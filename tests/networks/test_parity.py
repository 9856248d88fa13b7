"""Comparison with the published implementations, whose numbers the files ``*networks.json`` hold."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_extract.networks import (
    CLASSIFIERS,
    DCGANDiscriminator,
    DCGANGenerator,
    DFMEGenerator,
    build_classifier,
)

PARITY: dict[str, dict[str, Any]] = {}
for file in ("parity/networks.json", "parity/maze_networks.json", "parity/dfms_networks.json"):
    PARITY |= json.loads((Path(__file__).parents[1] / file).read_text())["networks"]


def build(name: str) -> nn.Module:
    if name.startswith("dfme_generator"):
        return DFMEGenerator(channels=1 if name.endswith("gray") else 3)
    if name.startswith("dfms"):
        return DCGANGenerator() if name == "dfms_generator" else DCGANDiscriminator()
    if name.startswith("maze_generator"):
        _, channels, image_size, _ = PARITY[name]["output_shape"]
        return DFMEGenerator(latent_dim=100, channels=channels, image_size=image_size, affine=True)
    classifier, num_classes = (name, 10) if name in CLASSIFIERS else name.rsplit("_", 1)
    _, channels, image_size, _ = PARITY[name]["input_shape"]
    return build_classifier(classifier, int(num_classes), channels, image_size)


def stated_weights(module: nn.Module) -> dict[str, Tensor]:
    weights = {}
    for t, (name, tensor) in enumerate(module.state_dict().items()):
        s = torch.sin(0.37 * torch.arange(tensor.numel(), dtype=torch.float64) + 0.11 * t + 0.5).view(tensor.shape)
        if name.endswith("num_batches_tracked"):
            weights[name] = tensor
        elif name.endswith("running_var"):
            weights[name] = 1 + 0.5 * s.abs()
        elif tensor.dim() >= 2:
            weights[name] = s * math.sqrt(2 / tensor[0].numel())
        elif name.endswith("weight"):
            weights[name] = 1 + 0.1 * s
        else:
            weights[name] = 0.05 * s
    return weights


def stated_input(name: str, shape: list[int]) -> Tensor:
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    flat = 1.3 * torch.sin(0.71 * i + 0.4) if "generator" in name else torch.sin(0.013 * i + 0.2)
    return flat.view(shape).float()


@pytest.mark.parametrize("name", [name for name, facts in PARITY.items() if "state_dict" in facts])
def test_state_dict(name: str) -> None:
    names = PARITY[name]["state_dict"]
    expected = PARITY[names]["state_dict"] if isinstance(names, str) else names
    assert [(n, list(t.shape)) for n, t in build(name).state_dict().items()] == list(expected.items())


@pytest.mark.parametrize("name", PARITY)
def test_parameter_count(name: str) -> None:
    assert sum(p.numel() for p in build(name).parameters()) == PARITY[name]["n_parameters"]


@pytest.mark.parametrize("name", PARITY)
def test_output(name: str) -> None:
    facts = PARITY[name]
    module = build(name)
    module.load_state_dict(stated_weights(module))
    images_or_latents = stated_input(name, facts["input_shape"])
    # Rounded to six digits after the point.
    tolerance = 2e-6
    if facts["mode"] == "train":
        # The stated weights let large terms cancel, and batch statistics scale up what is left: the float32
        # facts are 2e-5 from the exact values, which float64 gives.
        module, images_or_latents, tolerance = module.train().double(), images_or_latents.double(), 3e-5
    else:
        module.eval()
    forward = module.pre_activation if name.endswith("pre_activation") else module
    assert callable(forward)
    with torch.no_grad():
        output = forward(images_or_latents).float()
    assert list(output.shape) == facts["output_shape"]
    first_row = torch.tensor(facts["output_first_row"])
    assert_close(output[0].flatten()[: len(first_row)], first_row, rtol=1e-4, atol=tolerance)
    assert_close(output.mean().item(), facts["output_mean"], rtol=1e-4, atol=1e-7)
    assert_close(output.std().item(), facts["output_std"], rtol=1e-4, atol=0)
