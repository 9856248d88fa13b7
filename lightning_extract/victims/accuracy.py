"""Accuracy of a victim, measured the way an oracle uses it."""

import torch
from torch import Tensor, nn

from lightning_extract.data.image_set import ImageSet


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


@torch.no_grad()
def measure_accuracy(
    network: nn.Module, normalise: nn.Module, image_set: ImageSet, device: torch.device, batch_size: int = 512
) -> float:
    """Fraction of images answered with their label, in eval mode and float32.

    Args:
        network: Takes normalised images.
        normalise: Takes images in [-1, 1].
        image_set: Labelled images.
        device: Where both modules are.
        batch_size: Images a forward pass; changes no result.
    """
    was_training = network.training
    network.eval()
    correct = 0
    with torch.autocast(device.type, enabled=False):
        for start in range(0, len(image_set), batch_size):
            images, labels = image_set.batch(slice(start, start + batch_size))
            answers = network(normalise(images.to(device))).argmax(dim=1)
            correct += int((answers.cpu() == labels).sum())
    network.train(was_training)
    return correct / len(image_set)
