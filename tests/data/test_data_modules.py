import pytest
import torch

from lightning_extract.data.evaluation_data import EvaluationData
from lightning_extract.data.image_data import ImageData
from lightning_extract.errors import InputError
from tests.image_folders import write_image_folder


def test_properties_are_known_before_the_images_are_read():
    data = EvaluationData("mnist5k")
    assert (data.num_classes, data.channels, data.image_size) == (10, 1, 32)
    assert EvaluationData("mnist5k", channels=3).channels == 3
    with pytest.raises(RuntimeError, match="setup"):
        data.test_set  # noqa: B018


def test_evaluation_reads_the_test_set_in_order():
    data = EvaluationData("mnist5k", eval_batch_size=300)
    data.setup("test")
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
        assert images.shape == (1000, 1, 32, 32)
        assert torch.equal(labels, data.test_set.labels)
        assert (images.min(), images.max()) == (-1, 1)


def test_training_set_is_read_for_fitting_only(tmp_path):
    folder = write_image_folder(tmp_path)
    data = ImageData(str(folder), image_size=8, batch_size=4)
    data.setup("test")
    with pytest.raises(RuntimeError, match="fit"):
        data.train_dataloader()
    data.setup("fit")
    assert [len(labels) for _, labels in data.train_dataloader()] == [4, 4, 4]


def test_training_order_follows_the_run_seed(tmp_path, monkeypatch):
    data = ImageData(str(write_image_folder(tmp_path)), image_size=8, batch_size=4)
    data.setup("fit")

    def labels(seed):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        return torch.cat([images.flatten() for images, _ in data.train_dataloader()])

    assert torch.equal(labels(1), labels(1))
    assert not torch.equal(labels(1), labels(2))


def test_missing_data_is_described_not_raised(tmp_path):
    (missing,) = ImageData("cifar10", root=str(tmp_path)).describe_missing()
    assert "cifar-10-batches-py/test_batch" in missing
    assert ImageData("mnist5k").describe_missing() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size is 0"),
        ({"channels": 4}, "channels is 4"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"eval_batch_size": 0}, "eval_batch_size is 0"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        ImageData("mnist5k", **arguments)
