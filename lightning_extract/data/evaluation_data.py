"""The test set of an experiment, for every kind of data module."""

from lightning_extract.data.datasets import dataset_shape, describe_missing_data, load_images
from lightning_extract.data.evaluation_batches import EvaluationBatches
from lightning_extract.data.image_set import ImageSet, check_image_request


class EvaluationData(EvaluationBatches):
    """The test images, for validation, testing and prediction; subclasses add what trains.

    Args:
        dataset: mnist5k, mnist, fashion_mnist, svhn, cifar10, cifar100, gtsrb, or a folder with
            train/<class>/<image> and test/<class>/<image>.
        root: Folder that holds the named data sets, in torchvision's layout.
        image_size: Height and width to resize to, in pixels; 32 is what DFME's and DisGUIDE's networks take.
        channels: 1 (grey) or 3 (colour); the data set's own when not given, 3 for a folder.
        eval_batch_size: Images an evaluation batch, over all processes; changes no result.
        download: Fetch a named data set that is missing; needs a network.
    """

    medium = "images"

    def __init__(
        self,
        dataset: str,
        root: str = "data",
        image_size: int = 32,
        channels: int | None = None,
        eval_batch_size: int = 512,
        download: bool = False,
    ) -> None:
        super().__init__(dataset, root, eval_batch_size)
        check_image_request(image_size, channels)
        self.download = download
        self._image_size = image_size
        self._channels = channels
        self._test_set: ImageSet | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes, known before the images are read."""
        return dataset_shape(self.dataset).num_classes

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self._channels or dataset_shape(self.dataset).channels

    @property
    def image_size(self) -> int:
        """Height and width in pixels."""
        return self._image_size

    @property
    def test_set(self) -> ImageSet:
        """The test images, there after :meth:`setup`."""
        if self._test_set is None:
            raise RuntimeError("setup() must run before the test set is used")
        return self._test_set

    def describe_missing(self, fitting: bool = True) -> list[str]:
        """What has to be put where before this data can be read, one sentence a finding. Touches no network."""
        missing = describe_missing_data(self.dataset, self.root, self.download)
        return [] if missing is None else [missing]

    def prepare_data(self) -> None:
        """Fetches the data set where asked, in one process only."""
        if self.download:
            for split in ("train", "test"):
                load_images(self.dataset, split, self.root, download=True)

    def setup(self, stage: str) -> None:
        """Reads the test images, once."""
        if self._test_set is None:
            self._test_set = load_images(self.dataset, "test", self.root, self._image_size, self._channels)
