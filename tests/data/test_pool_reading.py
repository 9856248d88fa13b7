import gc
import hashlib
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor
from torchvision.datasets import SVHN

from lightning_extract.data import pool_conversion, pool_sources
from lightning_extract.data.datasets import DATASETS, load_images
from lightning_extract.data.draws import IterationDraws, mix_seed
from lightning_extract.data.image_set import ImageSet
from lightning_extract.data.mnist5k import read_mnist5k
from lightning_extract.data.pool_reading import NAMED_POOLS, describe_missing_pool, fetch_pool, read_pool
from lightning_extract.data.pools import ImagePool, NoisePool
from lightning_extract.data.proxy_classes import PROXY_CLASSES
from lightning_extract.data.shape_pool import ShapePool, write_shapes
from lightning_extract.data.shapes import SyntheticShapes
from lightning_extract.data.torchvision_sets import SVHN_EXTRA, TorchvisionSet
from lightning_extract.errors import InputError
from tests.data.cifar_names import CIFAR100_CLASSES
from tests.image_folders import write_image_folder

NOWHERE = "data"


def images_of(pool: str | Path, image_size: int, channels: int, **choice: Any) -> Tensor:
    found = read_pool(str(pool), choice.pop("root", NOWHERE), image_size, channels, **choice)
    assert isinstance(found, ImagePool)
    return found.images


def array_file(count: int = 20) -> Path:
    """Images whose pixels are ten times their position."""
    path = Path("pool.npy")
    np.save(path, np.broadcast_to(10 * np.arange(count, dtype=np.uint8)[:, None, None], (count, 4, 4)))
    return path


def positions(images: Tensor) -> list[int]:
    return [int(image.flatten()[0]) // 10 for image in images]


def test_every_data_set_is_a_pool() -> None:
    assert set(NAMED_POOLS) == {*DATASETS, "svhn_extra", "imagenet8", "imagenet16", "imagenet32", "imagenet64"}


@pytest.mark.parametrize("kind", ["uniform_noise", "gaussian_noise"])
def test_noise(kind: str) -> None:
    pool = read_pool(kind, NOWHERE, 8, 3)
    assert isinstance(pool, NoisePool)
    assert (pool.kind, pool.image_shape) == (kind, (3, 8, 8))


@pytest.mark.parametrize("kind", ["uniform_noise", "gaussian_noise"])
def test_limited_noise_is_a_choice_by_the_seed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = images_of(kind, 8, 3, limit=30, seed=4)
    assert (images.shape, images.dtype) == ((30, 3, 8, 8), torch.uint8)
    monkeypatch.setattr(pool_conversion, "CHUNK", 7)
    torch.manual_seed(9)
    assert torch.equal(images_of(kind, 8, 3, limit=30, seed=4), images)
    assert torch.equal(images_of(kind, 8, 3, limit=12, seed=4), images[:12])
    assert not torch.equal(images_of(kind, 8, 3, limit=30, seed=5), images)
    assert len({image.numpy().tobytes() for image in images}) == 30


def test_limited_uniform_noise_has_256_levels_alike() -> None:
    levels, expected = images_of("uniform_noise", 16, 3, limit=1000).flatten().bincount(minlength=256), 3000
    assert (levels - expected).square().sum() / expected < 340  # chi-square, 255 degrees of freedom: P < 0.0003


def test_limited_gaussian_noise_is_clamped_and_rounded() -> None:
    images = images_of("gaussian_noise", 8, 3, limit=20, seed=4)
    for number, image in enumerate(images):
        generator = torch.Generator().manual_seed(mix_seed(mix_seed(4, -1), number))
        normal = torch.randn(3, 8, 8, generator=generator).clamp(-1, 1)
        assert ((image / 127.5 - 1) - normal).abs().max() <= 0.501 / 127.5


def test_a_named_pool_holds_the_training_images() -> None:
    assert torch.equal(images_of("mnist5k", 28, 1), read_mnist5k("train").images)


@pytest.mark.parametrize(("image_size", "channels"), [(32, 3), (14, 1)])
def test_a_pool_is_converted_like_a_data_set(image_size: int, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_conversion, "CHUNK", 1500)  # of 4,000: the last piece is smaller
    expected = load_images("mnist5k", "train", image_size=image_size, channels=channels).images
    assert torch.equal(images_of("mnist5k", image_size, channels), expected)


def test_no_labels_are_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    labelled: list[weakref.ref[Any]] = []

    def read(split: str) -> ImageSet:
        image_set = read_mnist5k(split)
        labelled.extend([weakref.ref(image_set), weakref.ref(image_set.labels)])
        return image_set

    monkeypatch.setattr(pool_sources, "read_mnist5k", read)
    pool = read_pool("mnist5k", NOWHERE, 28, 1, classes=(3, 4))
    gc.collect()
    assert [reference() for reference in labelled] == [None, None]
    assert isinstance(pool, ImagePool)
    assert vars(pool).keys() == {"images", "order", "classes"}
    assert vars(pool.order).keys() == {"size", "seed", "_pass", "_order"}


def test_classes_choose_images() -> None:
    train = read_mnist5k("train")
    chosen = (train.labels == 7) | (train.labels == 2)
    assert torch.equal(images_of("mnist5k", 28, 1, classes=(7, 2)), train.images[chosen])


def test_classes_choose_images_by_name() -> None:
    write_image_folder(Path("tree"))
    cats = images_of("tree", 8, 3, classes=("cat",))
    assert torch.equal(cats, images_of("tree", 8, 3, classes=(1,)))
    assert torch.equal(images_of("tree", 8, 3, classes=("cat", 0)), images_of("tree", 8, 3))
    assert torch.equal(images_of("mnist5k", 28, 1, classes=("7", "2")), images_of("mnist5k", 28, 1, classes=(7, 2)))


@pytest.mark.parametrize(
    ("classes", "held"), [(None, ("bird", "cat")), ((1,), ("cat",)), (("cat", "bird"), ("bird", "cat"))]
)
def test_a_pool_names_the_classes_that_it_holds(classes: Any, held: tuple[str, ...]) -> None:
    write_image_folder(Path("tree"))
    Path("tree/train/dog").mkdir()
    Path("tree/train/bird/000.png").rename("tree/train/beside.png")
    assert read_pool("tree", NOWHERE, 8, 3, classes=classes).classes == held


def test_classes_without_an_image_in_the_limit_are_not_named() -> None:
    write_image_folder(Path("tree"))
    names = {read_pool("tree", NOWHERE, 8, 3, limit=1, seed=seed).classes for seed in range(20)}
    assert names == {("bird",), ("cat",)}


def test_pools_without_labels_name_no_classes() -> None:
    for pool in (str(array_file()), "uniform_noise", "synthetic_shapes"):
        assert read_pool(pool, NOWHERE, 8, 3).classes == ()
    assert read_pool("mnist5k", NOWHERE, 28, 1).classes == tuple("0123456789")


def cifar100_of_one_image_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Image k, of the class with index k, has the pixel k everywhere."""
    images = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).expand(100, 3, 4, 4)
    whole = ImageSet(images, torch.arange(100), CIFAR100_CLASSES)
    known = TorchvisionSet((), "http://nowhere", lambda root, split, download: whole)
    monkeypatch.setitem(pool_sources.NAMED_FILES, "cifar100", known)


def test_short_names_of_proxy_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    cifar100_of_one_image_a_class(monkeypatch)
    for short, names in PROXY_CLASSES.items():
        pool = read_pool("cifar100", NOWHERE, 4, 3, classes=(short,))
        assert isinstance(pool, ImagePool)
        assert set(pool.classes) == set(names)
        assert pool.images[:, 0, 0, 0].tolist() == sorted(CIFAR100_CLASSES.index(name) for name in names)
    with pytest.raises(
        InputError, match=r"'cifar100' has no class 'roze', 'pine tree'; close to it: rose, .*pine_tree"
    ):
        read_pool("cifar100", NOWHERE, 4, 3, classes=("roze", "plate", "pine tree"))


@pytest.mark.parametrize(("image_size", "channels"), [(8, 3), (8, 1), (3, 3), (1, 3)])
def test_shapes_from_the_cache_are_those_drawn_on_the_fly(image_size: int, channels: int) -> None:
    drawn = SyntheticShapes(count=30, shapes=4, canvas=20)
    kept = replace(drawn, cache="kept")
    write_shapes(kept, image_size, channels)
    fly = read_pool("synthetic_shapes", NOWHERE, image_size, channels, seed=3, shapes=drawn)
    file = read_pool("synthetic_shapes", NOWHERE, image_size, channels, seed=3, shapes=kept)
    assert isinstance(fly, ShapePool)
    assert isinstance(file, ImagePool)
    assert fly.size == file.size == 30
    for start, count in ((0, 8), (28, 4), (90, 30)):
        draws = IterationDraws(0, 0, 1, torch.device("cpu"))
        assert torch.equal(fly.batch(start, count, draws), file.batch(start, count, draws))


def test_a_limit_is_a_choice_by_the_seed() -> None:
    path = array_file()
    choices = {seed: positions(images_of(path, 4, 1, limit=6, seed=seed)) for seed in range(200)}
    assert all(len(set(choice)) == 6 and choice == sorted(choice) for choice in choices.values())
    assert positions(images_of(path, 4, 1, limit=6, seed=3)) == choices[3]
    counts = torch.tensor([position for choice in choices.values() for position in choice]).bincount()
    assert len(counts) == 20
    assert (counts - 60).abs().max() < 5 * (200 * 0.3 * 0.7) ** 0.5  # binomial: each image in 30 % of the choices


@pytest.mark.parametrize("limit", [20, 50_000])
def test_a_limit_above_the_pool_keeps_all(limit: int) -> None:
    assert positions(images_of(array_file(), 4, 1, limit=limit)) == list(range(20))


def test_a_limit_comes_after_the_classes() -> None:
    images = images_of("mnist5k", 28, 1, classes=(5,), limit=10)
    fives = read_mnist5k("train").images[read_mnist5k("train").labels == 5]
    assert len(images) == 10
    assert all((image == fives).flatten(1).all(dim=1).any() for image in images)


def test_the_extra_images_of_svhn(monkeypatch: pytest.MonkeyPatch) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32)).astype(np.uint8)
    labels = np.arange(20) % 10
    savemat("extra_32x32.mat", {"X": pixels.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
    checksum = hashlib.md5(Path("extra_32x32.mat").read_bytes()).hexdigest()
    extra = {"extra": ["", "extra_32x32.mat", checksum]}
    monkeypatch.setattr(SVHN, "split_list", {**SVHN.split_list, **extra})
    assert describe_missing_pool("svhn_extra", ".") is None
    skewed = images_of("svhn_extra", 32, 3, root=".", classes=(0, 1, 2, 3, 4))
    assert np.array_equal(skewed.numpy(), pixels[labels < 5])


@pytest.mark.parametrize(
    ("pool", "choice", "message"),
    [
        ("mnist5k", {"classes": (3, 10)}, r"pool 'mnist5k' has the classes 0 to 9, pool_classes names \[10\]"),
        ("mnist5k", {"classes": (-1,)}, r"pool_classes names \[-1\]"),
        ("mnist5k", {"classes": ()}, "pool_classes is empty; give at least one class, or null for all"),
        ("mnist5k", {"limit": 0}, "pool_limit is 0; give at least 1 image, or null for all"),
        ("uniform_noise", {"classes": (0,)}, "pool 'uniform_noise' has no classes; remove pool_classes"),
        ("gaussian_noise", {"limit": 0}, "pool_limit is 0; give at least 1 image"),
        ("gaussian_noise", {"limit": 5, "classes": (0,)}, "pool 'gaussian_noise' has no classes; remove pool_classes"),
        ("synthetic_shapes", {"classes": (0,)}, "remove pool_classes and pool_limit, and set shapes.count"),
        ("synthetic_shapes", {"limit": 5}, "as many images as are asked for; remove pool_classes and pool_limit"),
        ("mnist5k", {"classes": ("seven",)}, r"pool 'mnist5k' has no class 'seven'; it has 0, 1, .*, 7, \.\.\."),
        ("mnist5k", {"classes": ("dfms_10",)}, "dfms_10 stands for classes of cifar100, but pool is 'mnist5k'"),
        ("cifar100", {"classes": ("dfms_40", "bee")}, "dfms_40 is a whole list; give it alone, or the classes one"),
        ("pool.npy", {"classes": (0,)}, r"pool_classes is \[0\], but the images of pool 'pool.npy' have no labels"),
        ("pool.npz", {}, r"pool.npz does not exist; save an array of uint8 images \(N, H, W\), \(N, H, W, C\) or"),
        ("pools/birds", {}, r"'pools/birds' is neither noise \(uniform_noise, .* imagenet64\), nor a folder of images"),
        ("pools/birds", {}, "nor synthetic_shapes, nor a known data set"),
        ("empty", {}, r"empty holds no image file \(.jpg, .jpeg, .png, .*\); put the pool's there"),
        ("cifar10", {}, r"cifar-10-batches-py/test_batch.* --data.init_args.pool_root, or fetch it with"),
        ("imagenet32", {}, r"imagenet32 needs train_data_batch_1, .* in data/imagenet32/: unpack them there"),
        ("svhn_extra", {}, r"not complete in data/: put extra_32x32.mat there \(unpacked, from http"),
    ],
)
def test_mistakes_are_named(pool: str, choice: dict[str, Any], message: str) -> None:
    array_file()
    Path("empty").mkdir()
    with pytest.raises(InputError, match=message):
        read_pool(pool, NOWHERE, 28, 1, **choice)


def test_missing_pools_are_described_without_reading() -> None:
    Path("tree/train/cat").mkdir(parents=True)
    for pool in ("pool.npy", "tree", "svhn_extra", "pools/birds"):
        missing = describe_missing_pool(pool)
        assert missing is not None
        assert pool in missing
    for pool in ("uniform_noise", "gaussian_noise", "synthetic_shapes", "mnist5k"):
        assert describe_missing_pool(pool) is None
    Path("tree/train/cat/1.JPEG").touch()
    Path("pool.npy").touch()
    assert describe_missing_pool("tree") is None
    assert describe_missing_pool("pool.npy") is None
    assert describe_missing_pool("svhn_extra", download=True) is None


def test_a_class_without_images_is_an_empty_pool() -> None:
    write_image_folder(Path("tree"))
    Path("tree/train/dog").mkdir()
    with pytest.raises(InputError, match=r"pool 'tree' holds no image of the classes \[2\]; give at least one"):
        read_pool("tree", NOWHERE, 8, 3, classes=(2,))


@pytest.mark.parametrize("brightest", [0, 1])
def test_fractions_that_became_bytes_are_refused(brightest: int) -> None:
    np.save("dark.npy", np.full((3, 4, 4), brightest, np.uint8))
    with pytest.raises(InputError, match=f"no pixel of pool 'dark.npy' is brighter than {brightest} of 255"):
        read_pool("dark.npy", NOWHERE, 4, 1)


def test_a_pool_beyond_the_free_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=20 * 8 * 8 * 3))
    assert len(images_of(array_file(20), 8, 3)) == 20
    with pytest.raises(InputError, match=r"the 21 images of pool 'pool.npy' need 0.0 GB as bytes.*set pool_limit"):
        read_pool(str(array_file(21)), NOWHERE, 8, 3)


def test_only_named_pools_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[tuple[str, Path, str, bool]] = []

    def read(self: TorchvisionSet, name: str, root: Path, split: str, download: bool = False) -> None:
        fetched.append((self.files[0], root, split, download))

    monkeypatch.setattr(TorchvisionSet, "read", read)
    for pool in ("uniform_noise", "mnist5k", "folder", "pool.npy", "svhn_extra"):
        fetch_pool(pool, "root")
    assert fetched == [(SVHN_EXTRA.files[0], Path("root"), "train", True)]
