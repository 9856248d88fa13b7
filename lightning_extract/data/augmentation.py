"""Crop and flip whose random numbers do not depend on the number of processes."""

from torch import Tensor

from lightning_extract.data.draws import IterationDraws
from lightning_extract.functional.augmentation import crop, flip


def random_crop_and_flip(images: Tensor, draws: IterationDraws, padding: int = 4, fill: float = 0.0) -> Tensor:
    """Cuts an image of the old size out of a random place of each padded image and mirrors it with probability 1/2.

    Args:
        images: This process's images, pixels in [-1, 1].
        draws: The random numbers of the global batch.
        padding: Pixels added on each side; 4 in the official code of DFMS.
        fill: Value of the added pixels; that code pads images in [-1, 1] with 0, which is mid grey.

    Shape:
        ``(B, C, H, W)`` to the same.
    """
    numbers = (draws.uniform(len(images) * draws.world_size, 3).to(images.device) + 1) / 2
    top, left = (numbers[:, :2] * (2 * padding + 1)).long().unbind(1)
    return flip(crop(images, padding, top, left, fill), numbers[:, 2] < 0.5)
