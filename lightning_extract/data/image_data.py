"""Labelled images for the training of a victim."""

from torch import Tensor
from torch.utils.data import DataLoader

from lightning_extract.data.datasets import load_images
from lightning_extract.data.evaluation_batches import LabelledBatch
from lightning_extract.data.evaluation_data import EvaluationData
from lightning_extract.data.image_batches import EpochShuffle, batch_loader
from lightning_extract.data.image_set import ImageSet
from lightning_extract.data.seeds import run_seed
from lightning_extract.data.validation_split import check_validation_share, validation_split
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
        validation_share: Share of the training images, drawn by the run's seed, that is kept apart to select a victim
            by; validation reads them then instead of the test images.
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
        validation_share: float = 0.0,
        eval_batch_size: int = 512,
        download: bool = False,
    ) -> None:
        super().__init__(dataset, root, image_size, channels, eval_batch_size, download)
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}, it must be at least 1")
        check_validation_share(validation_share)
        self.batch_size = batch_size
        self.validation_share = validation_share
        self._train_set: ImageSet | None = None
        self._validation_set: ImageSet | None = None

    @property
    def train_set(self) -> ImageSet:
        """The training images, there after ``setup("fit")``."""
        if self._train_set is None:
            raise RuntimeError('setup("fit") must run before the training set is used')
        return self._train_set

    @property
    def validation_set(self) -> ImageSet:
        """The training images kept apart, there after ``setup("fit")`` where there is a validation_share."""
        if self._validation_set is None:
            raise RuntimeError("setup() must run, with a validation_share, before the validation set is used")
        return self._validation_set

    def setup(self, stage: str) -> None:
        """Reads the test images, and for fitting the training images, once."""
        super().setup(stage)
        selects = stage == "validate" and self.validation_share > 0
        if (stage == "fit" or selects) and self._train_set is None:
            whole = load_images(self.dataset, "train", self.root, self._image_size, self._channels)
            if self.validation_share:
                train, kept = validation_split(len(whole), self.validation_share, run_seed())
                self._validation_set = ImageSet(whole.images[kept], whole.labels[kept], whole.classes)
                whole = ImageSet(whole.images[train], whole.labels[train], whole.classes)
            self._train_set = whole

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Shuffled batches of the training set; with several processes each yields its share of the global batch."""
        rank, world_size = self.process_rank()
        order = EpochShuffle(len(self.train_set), self.batch_size, run_seed(), rank, world_size)
        return batch_loader(self.train_set, order)

    def val_dataloader(self) -> DataLoader[LabelledBatch]:
        """Batches of the training images kept apart; without any, of the test set, and nothing is chosen by it."""
        return self.evaluation_batches(self.validation_set) if self.validation_share else super().val_dataloader()
