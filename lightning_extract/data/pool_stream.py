"""The data of an attack that takes its queries from a pool: the stream of seeds, the pool and a test set."""

from lightning.pytorch.trainer.states import TrainerFn

from lightning_extract.data.generator_stream import GeneratorStream
from lightning_extract.data.pool_reading import check_pool_request, describe_missing_pool, fetch_pool, read_pool
from lightning_extract.data.pools import Pool
from lightning_extract.data.seeds import run_seed
from lightning_extract.data.shape_pool import SYNTHETIC_SHAPES, write_shapes
from lightning_extract.data.shapes import SyntheticShapes


class PoolStream(GeneratorStream):
    """Yields the number and the seed of each iteration; the attack takes its samples from :attr:`pool`.

    The pool gives images without labels, in the size and with the channels of the evaluation data.

    Args:
        dataset: Name of the data set, or a folder with ``train`` and ``test``, that the clones are evaluated on.
        pool: Where images come from: uniform_noise, gaussian_noise, synthetic_shapes, a named data set or svhn_extra
            (training images), imagenet8, imagenet16, imagenet32 or imagenet64 (the batches of downsampled ImageNet
            that are there; ActiveThief uses the first of imagenet64), a folder of images, or a .npy or .npz file of
            uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W).
        root: Folder of the data sets.
        pool_root: Folder of a named pool; root when not given.
        pool_classes: Classes whose images the pool keeps, by name or index (a number is an index), all when not given;
            [0,1,2,3,4] of svhn_extra is the skewed surrogate of DFME's code, [dfms_40] and [dfms_10] of cifar100 are
            the proxy classes of DFMS.
        pool_limit: Images in the pool at most, chosen by the run's seed; all when not given. DFME's code uses 50,000
            an epoch, ActiveThief 100,000 to buy and 50,000 to select by. Noise is endless without it; with it, so many
            images of 256 levels are drawn, which can be chosen from.
        pool_cache: Folder in which the converted pool is kept, as bytes, and from which every process and later run
            maps it into memory; for pools larger than the memory, and for folders that take long to decode. Read into
            memory when not given.
        image_size: Height and width of the images in pixels.
        channels: Channels of the images; the evaluation data set's own when not given.
        iterations_per_epoch: Iterations between two evaluations; 150 is the official DisGUIDE code's.
        eval_batch_size: Images in one evaluation batch, over all processes.
        download: Whether torchvision may download the data set and the pool.
        shapes: What the pool synthetic_shapes draws; without effect for other pools.
    """

    def __init__(
        self,
        dataset: str,
        pool: str,
        root: str = "data",
        pool_root: str | None = None,
        pool_classes: tuple[int | str, ...] | None = None,
        pool_limit: int | None = None,
        pool_cache: str | None = None,
        image_size: int = 32,
        channels: int | None = None,
        iterations_per_epoch: int = 150,
        eval_batch_size: int = 512,
        download: bool = False,
        shapes: SyntheticShapes = SyntheticShapes(),
    ) -> None:
        super().__init__(dataset, root, image_size, channels, iterations_per_epoch, eval_batch_size, download)
        check_pool_request(pool, pool_classes, pool_limit)
        self.pool_name = pool
        self.pool_root = root if pool_root is None else pool_root
        self.pool_classes = pool_classes
        self.pool_limit = pool_limit
        self.pool_cache = pool_cache
        self.shapes = shapes
        self._pool: Pool | None = None

    @property
    def pool(self) -> Pool:
        """The pool, there after ``setup("fit")``."""
        if self._pool is None:
            raise RuntimeError('setup("fit") must run before the pool is used')
        return self._pool

    def describe_missing(self, fitting: bool = True) -> list[str]:
        """What has to be put where before data and pool can be read, one sentence a finding. Touches no network."""
        missing = describe_missing_pool(self.pool_name, self.pool_root, self.download) if fitting else None
        return super().describe_missing(fitting) + ([] if missing is None else [missing])

    def prepare_data(self) -> None:
        """Fetches data set and pool and fills the caches of shapes and pool where asked, in one process only."""
        super().prepare_data()
        if self.download:
            fetch_pool(self.pool_name, self.pool_root)
        if self.pool_name == SYNTHETIC_SHAPES:
            write_shapes(self.shapes, self.image_size, self.channels)
        if self.pool_cache is not None and (self.trainer is None or self.trainer.state.fn == TrainerFn.FITTING):
            self._read_pool()

    def setup(self, stage: str) -> None:
        """Reads the test images, and for fitting the pool, once."""
        super().setup(stage)
        if stage == "fit" and self._pool is None:
            self._pool = self._read_pool()

    def _read_pool(self) -> Pool:
        return read_pool(
            self.pool_name,
            self.pool_root,
            self.image_size,
            self.channels,
            self.pool_classes,
            self.pool_limit,
            run_seed(),
            self.shapes,
            self.pool_cache,
        )
