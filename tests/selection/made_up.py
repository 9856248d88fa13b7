"""Candidates and distances made up for tests."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_extract.selection import KnownCandidates


def softmax_outputs(count: int, classes: int, seed: int, sharpness: float = 2.0) -> Tensor:
    """Random outputs of a clone, float32; nearly one-hot when sharp."""
    logits = torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))
    return (sharpness * logits).softmax(dim=1)


def refuse(indices: Tensor) -> Tensor:
    raise AssertionError("no distance was wanted")


def made_up_candidates(
    probabilities: Tensor,
    centres: Tensor | None = None,
    distances: Callable[[Tensor], Tensor] = refuse,
    seed: int = 0,
    measured: int | None = None,
) -> KnownCandidates:
    centres = probabilities[:0] if centres is None else centres
    return KnownCandidates(probabilities, centres, torch.Generator().manual_seed(seed), distances, measured)
