"""New initial weights for a network that optimizers and processes already hold on to."""

from collections.abc import Callable

import torch
from torch import nn


def fresh_weights(module: nn.Module, build: Callable[[], nn.Module], seed: int) -> None:
    """Gives a network new initial weights in place, the same on every process; the random state is kept.

    Args:
        module: The network.
        build: Makes another one like it, on the CPU.
        seed: Of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        module.load_state_dict(build().state_dict())
