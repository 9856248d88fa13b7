"""Batches of a test set, of images or of texts."""

from abc import abstractmethod

from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_extract.data.image_batches import RankShare, batch_loader
from lightning_extract.data.image_set import ImageSet
from lightning_extract.data.text_set import TextSet
from lightning_extract.errors import InputError

LabelledBatch = tuple[Tensor, Tensor] | tuple[list[str], Tensor]


class EvaluationBatches(LightningDataModule):
    """Yields a test set for validation, testing and prediction, each sample once over all processes.

    Args:
        dataset: Name or place of the data set.
        root: Folder that holds the named data sets.
        eval_batch_size: Samples an evaluation batch, over all processes; changes no result.
    """

    def __init__(self, dataset: str, root: str, eval_batch_size: int) -> None:
        super().__init__()
        if eval_batch_size < 1:
            raise InputError(f"eval_batch_size is {eval_batch_size}, it must be at least 1")
        self.dataset = dataset
        self.root = root
        self.eval_batch_size = eval_batch_size

    @property
    @abstractmethod
    def test_set(self) -> ImageSet | TextSet:
        """The test samples, there after ``setup``."""

    def val_dataloader(self) -> DataLoader[LabelledBatch]:
        """Batches of the test set: accuracy is reported on it, nothing is chosen by it."""
        return self.evaluation_batches(self.test_set)

    def test_dataloader(self) -> DataLoader[LabelledBatch]:
        """Batches of the test set."""
        return self.evaluation_batches(self.test_set)

    def predict_dataloader(self) -> DataLoader[LabelledBatch]:
        """Batches of the test set."""
        return self.evaluation_batches(self.test_set)

    def process_rank(self) -> tuple[int, int]:
        """Rank of this process, and the number of processes."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def evaluation_batches(self, samples: ImageSet | TextSet) -> DataLoader[LabelledBatch]:
        """Batches of the samples in order, of which this process yields its share."""
        rank, world_size = self.process_rank()
        return batch_loader(samples, RankShare(len(samples), self.eval_batch_size, rank, world_size))
