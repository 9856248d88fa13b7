"""Epochs over images of two sources of different size."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_extract.data.draws import mix_seed


@dataclass(frozen=True)
class Mixture:
    """Proxy and generated images in one set, the proxy images first; every batch holds a fixed number of each.

    An epoch ends with the source that is used up first; of the other it has seen a part, another one every epoch.

    Reference:
        Sanyal et al., DFMS, CVPR 2022, clone initialisation of the official code.

    Args:
        proxy: Proxy images, 0 for none.
        generated: Generated images, 0 for none.
        proxy_batch: Proxy images in a batch.
        generated_batch: Generated images in a batch.

    Example:
        >>> Mixture(proxy=20_000, generated=25_000, proxy_batch=128, generated_batch=64).batches
        157
    """

    proxy: int
    generated: int
    proxy_batch: int
    generated_batch: int

    @property
    def size(self) -> int:
        """Images of both sources."""
        return self.proxy + self.generated

    @property
    def batches(self) -> int:
        """Batches an epoch; the last one is smaller where a source does not divide."""
        sources = (self.proxy, self.proxy_batch), (self.generated, self.generated_batch)
        return min((math.ceil(images / batch) for images, batch in sources if images), default=0)

    @property
    def last_batch(self) -> int:
        """Images in the last batch of an epoch."""
        before = self.batches - 1
        proxy = min(self.proxy_batch, self.proxy - before * self.proxy_batch) if self.proxy else 0
        return proxy + (
            min(self.generated_batch, self.generated - before * self.generated_batch) if self.generated else 0
        )

    def order(self, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Positions of the proxy and of the generated images in the order of an epoch: ``(proxy,)``, ``(generated,)``.

        They hang on the seed and the number of the epoch alone.
        """
        generator = torch.Generator().manual_seed(mix_seed(seed, epoch))
        proxy = torch.randperm(self.proxy, generator=generator)
        return proxy, torch.randperm(self.generated, generator=generator) + self.proxy

    def batch(self, proxy: Tensor, generated: Tensor, number: int) -> list[int]:
        """What a batch of the epoch with this order holds."""
        first, second = number * self.proxy_batch, number * self.generated_batch
        parts = proxy[first : first + self.proxy_batch], generated[second : second + self.generated_batch]
        return torch.cat(parts).tolist()
