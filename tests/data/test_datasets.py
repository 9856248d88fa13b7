import pytest

from lightning_extract.data.datasets import DATASETS, dataset_shape, describe_missing_data, load_images
from lightning_extract.data.torchvision_sets import TORCHVISION_SETS
from lightning_extract.errors import InputError
from tests.image_folders import CLASSES, write_image_folder


def test_every_name_has_a_reader():
    assert set(DATASETS) == {*TORCHVISION_SETS, "mnist5k"}


def test_shape_is_known_before_reading(tmp_path):
    for split in ("train", "test"):
        mnist = load_images("mnist5k", split)
        assert (mnist.num_classes, mnist.channels) == (DATASETS["mnist5k"].num_classes, DATASETS["mnist5k"].channels)
    folder = write_image_folder(tmp_path)
    shape, read = dataset_shape(str(folder)), load_images(str(folder), "test")
    assert (shape.num_classes, shape.channels) == (len(CLASSES), 3) == (read.num_classes, read.channels)


def test_unknown_name_lists_the_known_ones():
    missing = describe_missing_data("cifra10")
    assert missing is not None
    assert "'cifra10' is neither a known data set (mnist5k, mnist," in missing
    with pytest.raises(InputError, match="cifra10"):
        load_images("cifra10", "train")
    with pytest.raises(InputError, match="cifra10"):
        dataset_shape("cifra10")


def test_named_set_is_converted_on_request():
    assert load_images("mnist5k", "test", image_size=32, channels=3).images.shape == (1000, 3, 32, 32)
    assert load_images("mnist5k", "test").images.shape == (1000, 1, 28, 28)


def test_folder_is_checked_before_it_is_read(tmp_path):
    with pytest.raises(InputError, match="it needs train/ and test/"):
        load_images(str(tmp_path), "train")
