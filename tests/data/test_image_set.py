import numpy as np
import pytest
import torch
from PIL import Image

from lightning_extract.data.image_set import ImageSet, check_image_request, images_to_unit_range
from lightning_extract.errors import InputError


def make_set(channels=1, size=28, count=3):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, channels, size, size), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(count) % 2, ("even", "odd"))


def test_unit_range_by_hand():
    pixels = images_to_unit_range(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert pixels.dtype == torch.float32
    assert pixels.tolist() == pytest.approx([-1.0, -0.6, 1.0])


def test_properties_and_batch():
    image_set = make_set(channels=3)
    assert (len(image_set), image_set.num_classes, image_set.channels, image_set.image_size) == (3, 2, 3, 28)
    images, labels = image_set.batch(torch.tensor([2, 1]))
    assert labels.tolist() == [0, 1]
    assert torch.equal(images, image_set.images[[2, 1]].float() / 127.5 - 1)


@pytest.mark.parametrize("size", [32, 14])
def test_resize_agrees_with_pillow(size):
    image_set = make_set()
    resized = image_set.converted(image_size=size).images
    for ours, original in zip(resized, image_set.images, strict=True):
        pillow = Image.fromarray(original[0].numpy()).resize((size, size), Image.Resampling.BILINEAR)
        assert np.abs(ours[0].numpy().astype(int) - np.asarray(pillow).astype(int)).max() <= 1


def test_grey_is_that_of_pillow():
    image_set = make_set(channels=3)
    for ours, original in zip(image_set.converted(channels=1).images, image_set.images, strict=True):
        pillow = Image.fromarray(original.permute(1, 2, 0).numpy()).convert("L")
        assert np.array_equal(ours[0].numpy(), np.asarray(pillow))


def test_grey_to_colour_repeats_the_channel():
    image_set = make_set(channels=1)
    colour = image_set.converted(channels=3).images
    assert torch.equal(colour, image_set.images[:, [0, 0, 0]])


def test_unconverted_is_unchanged():
    image_set = make_set()
    assert torch.equal(image_set.converted(image_size=28, channels=1).images, image_set.images)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64), "uint8"),
        (torch.zeros(0, 1, 4, 4, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), "N >= 1"),
        (torch.zeros(2, 1, 4, 6, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "4 x 6 pixels are not square"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "2 images need as many"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 2]), "labels from 0 to 2 do not fit 2 classes"),
    ],
)
def test_what_does_not_belong_together_is_refused(images, labels, message):
    with pytest.raises(InputError, match=message):
        ImageSet(images, labels, ("a", "b"))


@pytest.mark.parametrize(("size", "channels", "message"), [(0, None, "image_size is 0"), (None, 2, "channels is 2")])
def test_impossible_requests_are_refused(size, channels, message):
    with pytest.raises(InputError, match=message):
        check_image_request(size, channels)
