"""Labelled images for the training of a victim."""

from torch import Tensor
from torch.utils.data import DataLoader

from lightning_extract.data.datasets import load_images
from lightning_extract.data.evaluation_data import EvaluationData
from lightning_extract.data.image_batches import EpochShuffle, batch_loader
from lightning_extract.data.image_set import ImageSet
from lightning_extract.data.seeds import run_seed
from lightning_extract.errors import InputError


class ImageData(EvaluationData):
    """The training and test images of a data set.

    The order of the training images hangs on the run's seed and the epoch only, so a resumed run sees the same.

    Args:
        dataset: mnist5k, mnist, fashion_mnist, svhn, cifar10, cifar100, gtsrb, or a folder with
            train/<class>/<image> and test/<class>/<image>.
        root: Folder that holds the named data sets, in torchvision's layout.
        image_size: Height and width to resize to, in pixels; 32 is what DFME's and DisGUIDE's networks take.
        channels: 1 (grey) or 3 (colour); the data set's own when not given, 3 for a folder.
        batch_size: Images a training batch, over all processes; 128 is DFAD's, where DFME's victim comes from.
        eval_batch_size: Images an evaluation batch, over all processes; changes no result.
        download: Fetch a named data set that is missing; needs a network.
    """

    def __init__(
        self,
        dataset: str,
        root: str = "data",
        image_size: int = 32,
        channels: int | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        download: bool = False,
    ) -> None:
        super().__init__(dataset, root, image_size, channels, eval_batch_size, download)
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}, it must be at least 1")
        self.batch_size = batch_size
        self._train_set: ImageSet | None = None

    @property
    def train_set(self) -> ImageSet:
        """The training images, there after ``setup("fit")``."""
        if self._train_set is None:
            raise RuntimeError('setup("fit") must run before the training set is used')
        return self._train_set

    def setup(self, stage: str) -> None:
        """Reads the test images, and for fitting the training images, once."""
        super().setup(stage)
        if stage == "fit" and self._train_set is None:
            self._train_set = load_images(self.dataset, "train", self.root, self._image_size, self._channels)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Shuffled batches of the training set; with several processes each yields its share of the global batch."""
        rank, world_size = self.process_rank()
        order = EpochShuffle(len(self.train_set), self.batch_size, run_seed(), rank, world_size)
        return batch_loader(self.train_set, order)
