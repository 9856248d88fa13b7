"""The data of a data-free attack: an endless stream of seeds, and a test set to evaluate on."""

from torch.utils.data import DataLoader

from lightning_extract.data.draws import Iteration
from lightning_extract.data.evaluation_data import EvaluationData
from lightning_extract.data.iterations import check_epoch, iteration_loader


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
        check_epoch(iterations_per_epoch)
        self.iterations_per_epoch = iterations_per_epoch

    def train_dataloader(self) -> DataLoader[Iteration]:
        """Loader of the iterations of one epoch."""
        return iteration_loader(self.iterations_per_epoch)
