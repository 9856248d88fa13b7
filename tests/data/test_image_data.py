import pytest

from lightning_extract.data.image_data import ImageData
from lightning_extract.errors import InputError
from tests.image_folders import write_image_folder


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_impossible_shares(share):
    with pytest.raises(InputError, match=f"validation_share is {share}"):
        ImageData("mnist5k", validation_share=share)


def images_of(loader):
    return {images.flatten(1)[i].numpy().tobytes() for images, _ in loader for i in range(len(images))}


def test_images_kept_apart_validate_and_do_not_train(tmp_path, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    folder = str(write_image_folder(tmp_path))
    whole, data = (ImageData(folder, image_size=8, batch_size=3, validation_share=share) for share in (0.0, 0.25))
    for module in (whole, data):
        module.setup("fit")
    assert (len(data.train_set), len(data.validation_set), len(data.test_set)) == (9, 3, 12)
    train, kept = images_of(data.train_dataloader()), images_of(data.val_dataloader())
    assert not train & kept
    assert train | kept == images_of(whole.train_dataloader())
    assert images_of(data.test_dataloader()) == images_of(whole.val_dataloader())
    alone = ImageData(folder, image_size=8, validation_share=0.25)
    alone.setup("validate")
    assert images_of(alone.val_dataloader()) == kept


def test_without_a_share_there_is_no_validation_set(tmp_path):
    data = ImageData(str(write_image_folder(tmp_path)), image_size=8)
    data.setup("fit")
    with pytest.raises(RuntimeError, match="validation_share"):
        data.validation_set  # noqa: B018
