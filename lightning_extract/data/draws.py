"""Random draws of one iteration that do not depend on the number of processes."""

import hashlib
import random
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

LIMIT_DRAW = -1  # its seed; iterations, and passes through a pool, are numbered from 0
Batch = TypeVar("Batch", Tensor, list[int])


class Iteration(NamedTuple):
    """One item of a generator stream.

    Attributes:
        number: Position in the run, from 0.
        seed: Seed of all random draws of this iteration, a function of the run's seed and the number.
    """

    number: int
    seed: int


def mix_seed(run_seed: int, number: int) -> int:
    """A 63-bit seed for one iteration; neighbours share nothing."""
    digest = hashlib.blake2b(f"{run_seed}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def limited_choice(count: int, limit: int, run_seed: int) -> Tensor:
    """Positions of at most ``limit`` of ``count`` samples, drawn by the run's seed, ascending."""
    generator = torch.Generator().manual_seed(mix_seed(run_seed, LIMIT_DRAW))
    return torch.randperm(count, generator=generator)[:limit].sort().values


def seed_networks(seed: int, device: torch.device) -> None:
    """Seeds what networks draw themselves, as dropout does, on the CPU and the device that computes.

    ``torch.manual_seed`` seeds every kind of accelerator, which costs more than a small network's iteration.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


class IterationDraws:
    """Draws the global batch from the iteration's seed and hands out this process's slice.

    A resumed run therefore needs no random state, two processes never use the same noise, and one process or
    eight see the same samples.

    Args:
        seed: The iteration's seed.
        rank: This process.
        world_size: Number of processes.
        device: Where tensors are drawn.
    """

    def __init__(self, seed: int, rank: int, world_size: int, device: torch.device) -> None:
        self.rank, self.world_size, self.device = rank, world_size, device
        self.python = random.Random(seed)
        self._torch = torch.Generator(device).manual_seed(seed)
        self._host = self._torch if device.type == "cpu" else torch.Generator().manual_seed(seed)

    def share(self, batch: Batch) -> Batch:
        """The slice of a global batch that belongs to this process."""
        return batch[self.offset(len(batch)) : len(batch) * (self.rank + 1) // self.world_size]

    def offset(self, count: int) -> int:
        """Where this process's slice starts in a global batch of ``count``."""
        return count * self.rank // self.world_size

    def normal(self, count: int, *shape: int) -> Tensor:
        """Standard normal numbers for a global batch of ``count``: this process's ``(count / ranks, *shape)``."""
        return self.share(torch.randn(count, *shape, generator=self._torch, device=self.device))

    def uniform(self, count: int, *shape: int) -> Tensor:
        """Numbers uniform in [-1, 1) for a global batch of ``count``: this process's ``(count / ranks, *shape)``."""
        return self.share(torch.rand(count, *shape, generator=self._torch, device=self.device)) * 2 - 1

    def uniform_on_host(self, count: int, *shape: int) -> Tensor:
        """The same on the CPU, for numbers by which it decides what to launch: reading them stalls an accelerator."""
        return self.share(torch.rand(count, *shape, generator=self._host)) * 2 - 1

    def directions(self, directions: int, shape: torch.Size) -> Iterator[Tensor]:
        """Directions of length 1 for each sample of a share ``(B, ...)``, as many times as asked, one after another."""
        for _ in range(directions):
            normal = self.normal(shape[0] * self.world_size, *shape[1:])
            yield normal / normal.flatten(1).norm(dim=1).view(-1, *[1] * (len(shape) - 1))
