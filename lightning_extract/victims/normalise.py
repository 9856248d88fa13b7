"""The normalisation of an image victim."""

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Turns images in [-1, 1] into what a victim's network takes.

    Args:
        mean: Channel means of images in [0, 1].
        std: Channel deviations of the same.

    Shape:
        ``(B, C, H, W)`` to the same.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return ((images + 1) / 2 - self.mean) / self.std
