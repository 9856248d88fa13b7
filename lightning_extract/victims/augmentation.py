"""Random changes of training images, drawn for each sample, computed for the whole batch."""

import torch
from torch import Tensor
from torch.nn.functional import pad

BLACK = -1.0


def random_crop(images: Tensor, padding: int) -> Tensor:
    """Pads with black and cuts an image of the old size out of a random place.

    Args:
        images: Pixels in [-1, 1].
        padding: Pixels added on each side.

    Shape:
        ``(B, C, H, W)`` to the same.
    """
    count, _, height, width = images.shape
    padded = pad(images, (padding, padding, padding, padding), value=BLACK)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    top, left = torch.randint(2 * padding + 1, (2, count), device=images.device)
    return windows[torch.arange(count, device=images.device), :, top, left]


def random_horizontal_flip(images: Tensor) -> Tensor:
    """Mirrors each image left to right with probability one half.

    Shape:
        ``(B, C, H, W)`` to the same.
    """
    flipped = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(flipped, images.flip(3), images)
