"""A victim whose answers can be computed by hand."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_extract.oracle import ImageQueries, QueryLedger, VictimOracle

PIXELS, CLASSES = 5, 3
SHAPE = (1, 1, PIXELS)


class LinearVictim(nn.Module):
    """Softmax regression on five pixels, with a dropout that would show if it were left in train mode."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(PIXELS, CLASSES)
        self.dropout = nn.Dropout(0.5)
        generator = torch.Generator().manual_seed(seed)
        self.linear.weight.data.normal_(generator=generator)
        self.linear.bias.data.normal_(generator=generator)
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        logits: Tensor = self.dropout(self.linear(images.flatten(1)))
        return logits


def linear_oracle(network: nn.Module | None = None, budget: int = 1000, **others: Any) -> VictimOracle:
    """Its oracle; mean and deviation 1/2 leave pixels in [-1, 1] as they are."""
    values: dict[str, Any] = {"mean": (0.5,), "std": (0.5,), "input_space": "pre_transform", "access": "soft"} | others
    queries = ImageQueries(SHAPE, *(values.pop(name) for name in ("mean", "std", "input_space")))
    return VictimOracle(network or LinearVictim(), CLASSES, queries, ledger=QueryLedger(budget), **values)


def pixels(count: int, seed: int = 0) -> Tensor:
    """Uniform queries in [-1, 1)."""
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1
