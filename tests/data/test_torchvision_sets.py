import hashlib
import pickle

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, SVHN

from lightning_extract.data import torchvision_sets
from lightning_extract.data.datasets import describe_missing_data, load_images
from lightning_extract.errors import InputError

COUNT = 20


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (COUNT, 3, 32, 32)).astype(np.uint8)


@pytest.fixture
def labels():
    return np.arange(COUNT) % 10


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, ">i4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_mnist_like(tmp_path, pixels, labels, name, folder):
    grey = pixels[:, 0, :28, :28]
    for part in ("train", "t10k"):
        write_idx(tmp_path / folder / "raw" / f"{part}-images-idx3-ubyte", grey)
        write_idx(tmp_path / folder / "raw" / f"{part}-labels-idx1-ubyte", labels)
    image_set = load_images(name, "train", tmp_path)
    assert np.array_equal(image_set.images[:, 0].numpy(), grey)
    assert image_set.labels.tolist() == labels.tolist()
    assert load_images(name, "test", tmp_path, image_size=32, channels=3).images.shape == (COUNT, 3, 32, 32)


@pytest.mark.parametrize(("name", "reader"), [("cifar10", CIFAR10), ("cifar100", CIFAR100)])
def test_cifar(tmp_path, monkeypatch, pixels, labels, name, reader):
    folder = tmp_path / reader.base_folder
    folder.mkdir()
    names = [f"class {k}" for k in range(100 if reader is CIFAR100 else 10)]
    lists = {}
    for attribute in ("train_list", "test_list"):
        lists[attribute] = []
        for file, _ in getattr(reader, attribute):
            key = "labels" if reader is CIFAR10 else "fine_labels"
            (folder / file).write_bytes(pickle.dumps({"data": pixels.reshape(COUNT, -1), key: labels.tolist()}))
            lists[attribute].append([file, md5(folder / file)])
        monkeypatch.setattr(reader, attribute, lists[attribute])
    meta = folder / reader.meta["filename"]
    meta.write_bytes(pickle.dumps({reader.meta["key"]: names}))
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": md5(meta)})
    image_set = load_images(name, "test", tmp_path)
    assert np.array_equal(image_set.images.numpy(), pixels)
    assert image_set.classes == tuple(names)
    assert len(load_images(name, "train", tmp_path)) == COUNT * len(lists["train_list"])
    (folder / reader.test_list[0][0]).write_bytes(b"damaged")
    with pytest.raises(InputError, match=f"data set {name} cannot be read from"):
        load_images(name, "test", tmp_path)


def test_svhn(tmp_path, monkeypatch, pixels, labels):
    savemat = pytest.importorskip("scipy.io").savemat
    sources = {}
    for split in ("train", "test"):
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": pixels.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
        sources[split] = ["", path.name, md5(path)]
    monkeypatch.setattr(SVHN, "split_list", {**SVHN.split_list, **sources})
    image_set = load_images("svhn", "test", tmp_path)
    assert np.array_equal(image_set.images.numpy(), pixels)
    assert image_set.labels.tolist() == labels.tolist()


def test_gtsrb(tmp_path, pixels):
    root = tmp_path / "gtsrb"
    images = root / "GTSRB" / "Final_Test" / "Images"
    images.mkdir(parents=True)
    for sign in range(2):
        folder = root / "GTSRB" / "Training" / f"{sign:05d}"
        folder.mkdir(parents=True)
        Image.new("RGB", (50, 40 + sign), (10 * sign, 0, 0)).save(folder / "a.ppm")
    Image.fromarray(pixels[0].transpose(1, 2, 0)).save(images / "x.ppm")
    (root / "GT-final_test.csv").write_text("Filename;ClassId\nx.ppm;42\n")
    train, test = load_images("gtsrb", "train", tmp_path), load_images("gtsrb", "test", tmp_path)
    assert train.images.shape == (2, 3, 32, 32)
    assert train.images[1, 0].unique().tolist() == [10]
    assert train.labels.tolist() == [0, 1]
    assert np.array_equal(test.images[0].numpy(), pixels[0])
    assert (test.labels.tolist(), test.num_classes) == ([42], 43)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte"),
        ("fashion_mnist", "FashionMNIST/raw/train-images-idx3-ubyte"),
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar100", "cifar-100-python/meta"),
        ("svhn", "test_32x32.mat"),
        ("gtsrb", "gtsrb/GT-final_test.csv"),
    ],
)
def test_missing_files_are_named_with_their_source(tmp_path, name, file):
    missing = describe_missing_data(name, tmp_path)
    assert missing is not None
    assert file in missing
    assert str(tmp_path) in missing
    assert "http" in missing
    assert "--data.init_args.download true" in missing
    with pytest.raises(InputError, match=name):
        load_images(name, "test", tmp_path)
    assert describe_missing_data(name, tmp_path, download=True) is None


def test_missing_scipy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_sets, "find_spec", lambda name: None)
    assert "pip install scipy" in str(describe_missing_data("svhn", tmp_path))


def test_failed_download_is_one_sentence(tmp_path, monkeypatch):
    def refuse(self):
        raise RuntimeError("no network")

    monkeypatch.setattr(CIFAR10, "download", refuse)
    with pytest.raises(InputError, match=r"data set cifar10 cannot be fetched into .*no network.*put the files"):
        load_images("cifar10", "test", tmp_path, download=True)
