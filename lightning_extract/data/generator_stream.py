"""The data of a data-free attack: an endless stream of seeds, and a test set to evaluate on."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lightning_extract.data.draws import Iteration, mix_seed
from lightning_extract.data.evaluation_data import EvaluationData
from lightning_extract.data.seeds import run_seed
from lightning_extract.errors import InputError


class GeneratorStream(EvaluationData):
    """Yields the number and the seed of each iteration; the attack generates its samples itself.

    An epoch is a fixed number of iterations: the interval of evaluation and checkpoints.

    Args:
        dataset: Name of the data set, or a folder with ``train`` and ``test``, that the clones are evaluated on.
        root: Folder of the data sets.
        image_size: Height and width of the images in pixels.
        channels: Channels of the images; the data set's own when not given.
        iterations_per_epoch: Iterations between two evaluations; 150 is the official DisGUIDE code's.
        eval_batch_size: Images in one evaluation batch, over all processes.
        download: Whether torchvision may download the data set.
    """

    def __init__(
        self,
        dataset: str,
        root: str = "data",
        image_size: int = 32,
        channels: int | None = None,
        iterations_per_epoch: int = 150,
        eval_batch_size: int = 512,
        download: bool = False,
    ) -> None:
        super().__init__(dataset, root, image_size, channels, eval_batch_size, download)
        if iterations_per_epoch < 1:
            raise InputError(f"iterations_per_epoch is {iterations_per_epoch}; give at least 1")
        self.iterations_per_epoch = iterations_per_epoch

    def train_dataloader(self) -> DataLoader[Iteration]:
        """Loader of the iterations of one epoch."""
        seed = run_seed()
        # An own generator: a loader without one draws from the global random state.
        return DataLoader(
            _Iterations(seed),
            batch_size=None,
            sampler=_EpochOfIterations(self.iterations_per_epoch),
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
