"""The transferability of a clone under a chosen set of evasion attacks."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_extract.bars import open_bar
from lightning_extract.functional.precision import full_float32
from lightning_extract.metrics.evasion import Classifier, Evasion, EvasionCrafter, require_toolbox
from lightning_extract.metrics.transfer_settings import TransferSettings
from lightning_extract.metrics.transferability import Transferability


class TransferMeasurement:
    """Crafts the attacks on a clone and counts whom they fool.

    The batches hang on the images alone and each has its own seed, so that any number of processes that share
    them finds the same numbers.

    Args:
        settings: The attacks.

    Raises:
        InputError: The library of evasion attacks is not installed.
    """

    def __init__(self, settings: TransferSettings) -> None:
        require_toolbox()
        self.settings = settings

    @property
    def samples(self) -> int:
        """How many images are asked for; 0 for all."""
        return self.settings.samples

    @property
    def seed(self) -> int:
        """Of the choice of images."""
        return self.settings.seed

    def run(
        self,
        clone: Classifier,
        victim: Classifier,
        images: Tensor,
        labels: Tensor,
        num_classes: int,
        rank: int = 0,
        world_size: int = 1,
        show: bool = False,
    ) -> list[dict[str, Any]]:
        """Measures every attack; all processes get the numbers over all.

        Args:
            clone: Images in [-1, 1] to probabilities ``(B, K)``, with gradients.
            victim: The same of the victim.
            images: ``(N, C, H, W)`` in [-1, 1], the same on all processes.
            labels: Their classes ``(N,)``.
            num_classes: K.
            rank: This process.
            world_size: Number of processes.
            show: Whether to draw a progress bar.
        """
        size, evasions = self.settings.batch_size, self.settings.evasions()
        starts = range(rank * size, len(images), world_size * size)
        total = sum(min(size, len(images) - start) for start in starts) * len(evasions)
        bar = open_bar(total, "transfer", " images", show)
        found = []
        with bar, torch.inference_mode(False), torch.enable_grad(), full_float32(images.device.type):
            classes = self._targets(labels, num_classes) if self.settings.targeted else labels.clone()
            crafter = EvasionCrafter(clone, images.shape[1:], num_classes, images.device)
            for evasion in evasions:
                metric = Transferability(evasion.targeted).to(images.device)
                for start in starts:
                    batch, goal = images[start : start + size].clone(), classes[start : start + size]
                    seed = self.settings.seed, start // size
                    crafted, noisy = crafter.craft(evasion, batch, goal, seed), add_noise(batch, evasion, seed)
                    with torch.no_grad():
                        metric.update(victim(crafted), clone(crafted), victim(noisy), goal)
                    bar.update(len(batch))
                found.append(asdict(evasion) | {"seed": self.settings.seed} | metric.compute())
        return found

    def _targets(self, labels: Tensor, num_classes: int) -> Tensor:
        draw = torch.Generator().manual_seed(self.settings.seed)
        return (labels + torch.randint(1, num_classes, labels.shape, generator=draw).to(labels.device)) % num_classes


def add_noise(images: Tensor, evasion: Evasion, seed: tuple[int, int]) -> Tensor:
    """Images with random noise of exactly the attack's size, clipped like the attack's.

    In norm inf every pixel moves by epsilon, up or down; in norm 2 the direction is uniform on the sphere.

    Shape:
        ``(B, C, H, W)`` in [-1, 1] to the same.
    """
    draws = np.random.default_rng(seed).standard_normal(tuple(images.shape))
    noise = torch.from_numpy(draws).to(images)
    noise = noise.sign() if evasion.norm == "inf" else noise / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return (images + 2 * evasion.epsilon * noise).clamp(-1, 1)
