"""A part of the training samples that a victim is chosen by, never trained on."""

from math import ceil

import torch
from torch import Tensor

from lightning_extract.data.draws import mix_seed
from lightning_extract.errors import InputError

VALIDATION_DRAW = -1  # the seed of the split; epochs are numbered from 0


def check_validation_share(share: float) -> None:
    """Refuses an impossible share.

    Raises:
        InputError: The share is not in [0, 1).
    """
    if not 0.0 <= share < 1.0:
        raise InputError(f"validation_share is {share}, it must be at least 0 and below 1")


def validation_split(count: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Positions to train on and positions to validate by, both ascending; the seed draws which.

    Args:
        count: Number of training samples.
        share: Part of them to validate by, above 0, rounded up to whole samples: a fifth of MR's 9,596 sentences are
            ActiveThief's 1,920.
        seed: The run's seed.

    Raises:
        InputError: No sample would be left to train on.
    """
    kept_apart = ceil(round(share * count, 6))  # 0.07 * 100 is a little more than 7
    if kept_apart >= count:
        raise InputError(
            f"validation_share {share} leaves none of {count:,} training samples to train on; take a smaller share"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(mix_seed(seed, VALIDATION_DRAW)))
    return order[kept_apart:].sort().values, order[:kept_apart].sort().values
