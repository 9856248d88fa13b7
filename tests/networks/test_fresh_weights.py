from functools import partial

import torch
from torch import nn

from lightning_extract.networks import build_classifier, fresh_weights, synchronise_batch_norm


def test_weights_are_those_of_a_network_built_under_the_seed() -> None:
    build = partial(build_classifier, "cnn_2_1", 10, 1)
    network = build()
    parameters, before = list(network.parameters()), network.blocks[0][0].weight.clone()
    network.blocks[0][2].running_mean.fill_(3.0)
    state = torch.get_rng_state()
    fresh_weights(network, build, seed=5)
    assert torch.equal(torch.get_rng_state(), state), "what is drawn afterwards stays the same"
    assert all(new is old for new, old in zip(network.parameters(), parameters, strict=True))
    assert not torch.equal(network.blocks[0][0].weight, before)
    torch.manual_seed(5)
    expected = build().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_it_reaches_batch_normalisation_over_processes() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))

    network = synchronise_batch_norm(build(), "cpu")
    network[1].weight.data.fill_(7.0)
    fresh_weights(network, build, seed=0)
    assert torch.equal(network[1].weight, torch.ones(2))
