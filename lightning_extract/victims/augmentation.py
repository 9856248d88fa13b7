"""Random changes of training images, drawn for each sample, computed for the whole batch."""

import torch
from torch import Tensor

from lightning_extract.functional.augmentation import crop, flip

BLACK = -1.0


def random_crop(images: Tensor, padding: int) -> Tensor:
    """Pads with black and cuts an image of the old size out of a random place.

    Args:
        images: Pixels in [-1, 1].
        padding: Pixels added on each side.

    Shape:
        ``(B, C, H, W)`` to the same.
    """
    top, left = torch.randint(2 * padding + 1, (2, len(images)), device=images.device)
    return crop(images, padding, top, left, BLACK)


def random_horizontal_flip(images: Tensor) -> Tensor:
    """Mirrors each image left to right with probability one half.

    Shape:
        ``(B, C, H, W)`` to the same.
    """
    return flip(images, torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5)
