"""Iterations as training data: the number and the seed of each, an endless stream in epochs of a fixed length."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lightning_extract.data.draws import Iteration, mix_seed
from lightning_extract.data.seeds import run_seed
from lightning_extract.errors import InputError


def check_epoch(iterations: int) -> None:
    """Refuses an epoch without an iteration.

    Raises:
        InputError: The number is below 1.
    """
    if iterations < 1:
        raise InputError(f"iterations_per_epoch is {iterations}; give at least 1")


def iteration_loader(iterations: int) -> DataLoader[Iteration]:
    """Loader of an epoch of so many iterations; Lightning announces which epoch it is."""
    seed = run_seed()
    # An own generator: a loader without one draws from the global random state.
    return DataLoader(
        _Iterations(seed),
        batch_size=None,
        sampler=_EpochOfIterations(iterations),
        generator=torch.Generator().manual_seed(seed),
    )


class _Iterations(Dataset[Iteration]):
    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __getitem__(self, number: int) -> Iteration:
        return Iteration(number, mix_seed(self.seed, number))


class _EpochOfIterations(Sampler[int]):
    """Numbers of the iterations of the epoch that Lightning announces through ``set_epoch``."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        # Evaluated at the first item, not before: a resumed fit asks for the iterator, then announces the epoch.
        yield from range(self.epoch * self.length, (self.epoch + 1) * self.length)
