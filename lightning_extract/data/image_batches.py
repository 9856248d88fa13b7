"""Whole batches out of samples in memory, in an order that hangs on (seed, epoch) only."""

from collections.abc import Iterator
from math import ceil
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lightning_extract.data.draws import mix_seed
from lightning_extract.errors import InputError

Batch = TypeVar("Batch", covariant=True)


class BatchIndexed(Protocol[Batch]):
    """Samples in memory that are taken a batch at a time, as an image set or a text set."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Batch:
        """The samples at the given positions ``(B,)``."""


class BatchDataset(Dataset[Batch]):
    """Samples and labels int64 ``(B,)``, by the positions of a whole batch.

    Args:
        samples: In memory.
    """

    def __init__(self, samples: BatchIndexed[Batch]) -> None:
        self.samples = samples

    def __getitem__(self, indices: Tensor) -> Batch:
        return self.samples.batch(indices)

    def __len__(self) -> int:
        return len(self.samples)


def batch_loader(samples: BatchIndexed[Batch], order: "EpochShuffle | RankShare") -> DataLoader[Batch]:
    """A loader with one indexing operation a batch, in this process: there is nothing for workers to do."""
    # An own generator: a loader without one draws from the global random state.
    return DataLoader(BatchDataset(samples), batch_size=None, sampler=order, generator=torch.Generator())


class EpochShuffle(Sampler[Tensor]):
    """A new permutation every epoch; each process takes its slice of every global batch.

    The samples that do not fill a last batch are left out of that epoch.

    Args:
        num_samples: Number of samples.
        batch_size: Samples a batch, over all processes.
        seed: The run's seed.
        rank: This process.
        world_size: Number of processes.

    Raises:
        InputError: The batch does not divide over the processes, or is larger than the set.
    """

    def __init__(self, num_samples: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size % world_size:
            raise InputError(
                f"batch_size {batch_size} does not divide over {world_size} processes; "
                f"take a multiple of {world_size} (it is the size of the global batch)"
            )
        if batch_size > num_samples:
            raise InputError(
                f"batch_size {batch_size} exceeds the {num_samples:,} training samples; take a smaller one"
            )
        self.num_samples, self.batch_size = num_samples, batch_size
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the permutation."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(mix_seed(self.seed, self.epoch))
        order = torch.randperm(self.num_samples, generator=generator)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start + self.rank : start + self.batch_size : self.world_size]

    def __len__(self) -> int:
        return self.num_samples // self.batch_size


class RankShare(Sampler[Tensor]):
    """Every sample once over all processes, in order: this one takes ``rank::world_size``, without padding.

    All processes get equally many batches, so that none waits for another inside a collective operation.

    Args:
        num_samples: Number of samples.
        batch_size: Samples a batch, over all processes.
        rank: This process.
        world_size: Number of processes.

    Raises:
        InputError: Some process would get an empty batch.
    """

    def __init__(self, num_samples: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = torch.arange(num_samples)[rank::world_size]
        self.num_batches = ceil(num_samples / batch_size)
        if num_samples // world_size < self.num_batches:
            raise InputError(
                f"{num_samples:,} samples in batches of {batch_size} do not occupy {world_size} processes; "
                "take a larger eval_batch_size or fewer processes"
            )

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.indices.tensor_split(self.num_batches)

    def __len__(self) -> int:
        return self.num_batches
