"""Changes of training images by numbers that are given for each image."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def crop(images: Tensor, padding: int, top: Tensor, left: Tensor, fill: float) -> Tensor:
    """Pads the images and cuts one of the old size out of each, from a place of its own.

    Args:
        images: Pixels in [-1, 1].
        padding: Pixels added on each side.
        top: First row of each cut in its padded image, in [0, 2 padding].
        left: First column.
        fill: Value of the added pixels, -1 for black, 0 for mid grey.

    Shape:
        Images ``(B, C, H, W)`` and int64 ``(B,)`` twice to images.
    """
    count, _, height, width = images.shape
    padded = pad(images, (padding, padding, padding, padding), value=fill)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count, device=images.device), :, top, left]


def flip(images: Tensor, which: Tensor) -> Tensor:
    """Mirrors some of the images left to right.

    Shape:
        Images ``(B, C, H, W)`` and bool ``(B,)`` to images.
    """
    return torch.where(which.view(-1, 1, 1, 1), images.flip(3), images)
