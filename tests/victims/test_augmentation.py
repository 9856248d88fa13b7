import torch

from lightning_extract.victims.augmentation import random_crop, random_horizontal_flip


def numbered_images(count, size=6):
    """Two channels that hold each pixel's row and column, from 1."""
    rows = torch.arange(1.0, size + 1).view(1, size, 1).expand(1, size, size)
    return torch.cat([rows, rows.transpose(1, 2)]).expand(count, 2, size, size).contiguous()


def test_each_crop_is_a_window_of_the_padded_image():
    torch.manual_seed(0)
    images, padding = numbered_images(200), 2
    crops = random_crop(images, padding)
    shifts = set()
    for crop in crops:
        row, column = next((r, c) for r in range(6) for c in range(6) if crop[0, r, c] > 0)
        top, left = int(crop[0, row, column]) - row, int(crop[1, row, column]) - column
        expected = torch.full((2, 10, 10), -1.0)
        expected[:, padding:-padding, padding:-padding] = images[0]
        top, left = top - 1 + padding, left - 1 + padding
        assert torch.equal(crop, expected[:, top : top + 6, left : left + 6])
        shifts.add((top, left))
    assert shifts == {(top, left) for top in range(5) for left in range(5)}


def test_flips_half_of_the_samples_whole():
    torch.manual_seed(0)
    images = numbered_images(400)
    flipped = random_horizontal_flip(images)
    mirrored = [torch.equal(image, images[0].flip(2)) for image in flipped]
    unchanged = [torch.equal(image, images[0]) for image in flipped]
    assert sum(mirrored) + sum(unchanged) == 400
    assert 160 < sum(mirrored) < 240


def test_draws_follow_torchs_seed():
    images = torch.rand(8, 3, 6, 6)

    def augmented(seed):
        torch.manual_seed(seed)
        return random_horizontal_flip(random_crop(images, 2))

    assert torch.equal(augmented(1), augmented(1))
    assert not torch.equal(augmented(1), augmented(2))
