import torch

from lightning_extract.functional.augmentation import crop, flip


def test_each_crop_is_the_window_at_its_place() -> None:
    images = torch.randn(25, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    top, left = torch.arange(25) // 5, torch.arange(25) % 5
    padded = torch.full((25, 3, 8, 10), 0.25)
    padded[:, :, 2:-2, 2:-2] = images
    expected = [
        image[:, row : row + 4, column : column + 6] for image, row, column in zip(padded, top, left, strict=True)
    ]
    assert torch.equal(crop(images, 2, top, left, fill=0.25), torch.stack(expected))


def test_a_crop_from_the_middle_is_the_image() -> None:
    images, middle = torch.randn(3, 1, 5, 5), torch.full((3,), 2)
    assert torch.equal(crop(images, 2, middle, middle, fill=-1), images)


def test_flips_the_chosen_images_alone() -> None:
    images, which = torch.randn(4, 3, 2, 5), torch.tensor([True, False, False, True])
    flipped = flip(images, which)
    for image, chosen, found in zip(images, which, flipped, strict=True):
        assert torch.equal(found, image.flip(2) if chosen else image)
