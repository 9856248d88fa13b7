"""Accuracy of a victim, measured the way an oracle uses it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_extract.data.image_batches import BatchIndexed


@torch.no_grad()
def measure_accuracy(
    network: nn.Module,
    encode: Callable[[Any], Tensor],
    labelled: BatchIndexed[tuple[Any, Tensor]],
    device: torch.device,
    batch_size: int = 512,
) -> float:
    """Fraction of samples answered with their label, in eval mode and float32.

    Args:
        network: Takes what ``encode`` gives.
        encode: Turns images in [-1, 1], which are on the device, or sentences into the network's input.
        labelled: Labelled samples.
        device: Where the network is.
        batch_size: Samples a forward pass; changes no result.
    """
    was_training = network.training
    network.eval()
    correct = 0
    with torch.autocast(device.type, enabled=False):
        for indices in torch.split(torch.arange(len(labelled)), batch_size):
            samples, labels = labelled.batch(indices)
            samples = samples.to(device) if isinstance(samples, Tensor) else samples
            answers = network(encode(samples)).argmax(dim=1)
            correct += int((answers.cpu() == labels).sum())
    network.train(was_training)
    return correct / len(labelled)
