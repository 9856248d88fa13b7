"""Grayscale images among generated ones."""

import math

import torch
from torch import Tensor


def grayscale(images: Tensor, fraction: float, channel: int, offset: int = 0) -> Tensor:
    """Copies one channel over the others in an evenly spaced share of the images.

    The copies are detached, so that a gradient reaches the chosen channel only. A fraction of 1/8 takes
    the images 0, 8, 16, ... of the global batch.

    Reference:
        Rosenthal et al., DisGUIDE, AAAI 2023, section 4 and its official code.

    Args:
        images: This process's images.
        fraction: Share of the global batch to change, in [0, 1].
        channel: The channel that is kept.
        offset: Position of the first image in the global batch.

    Shape:
        ``(B, C, H, W)`` to the same.
    """
    positions = range(offset, offset + len(images))
    chosen = [i for i, n in enumerate(positions) if math.floor(n * fraction) > math.floor((n - 1) * fraction)]
    if not chosen or images.shape[1] == 1:
        return images
    gray = images[:, channel : channel + 1].detach().expand_as(images)
    replace = torch.zeros(images.shape[:2], dtype=torch.bool)
    replace[chosen] = True
    replace[:, channel] = False
    replace = replace.to(images.device, non_blocking=True)
    return torch.where(replace[:, :, None, None], gray, images)
