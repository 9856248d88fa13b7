"""Bought answers that no clone ever trains on."""

import random

import torch
from torch import Tensor


class HeldOutAnswers:
    """A bounded uniform sample, by batches, of the answers set aside over the whole run.

    Selecting a clone by them needs no test data. Reservoir sampling (Vitter, 1985) keeps early and late batches
    with the same probability.

    Args:
        capacity: Number of batches kept; 16 bound the memory (4,096 samples at the papers' batch of 256).
    """

    def __init__(self, capacity: int = 16) -> None:
        self.capacity = capacity
        self.seen = 0
        self.batches: list[tuple[Tensor, Tensor]] = []

    def add(self, samples: Tensor, answers: Tensor, rng: random.Random) -> None:
        """Offers a batch, samples ``(B, C, H, W)`` and answers ``(B, K)`` or ``(B,)``; it may replace an older one."""
        self.seen += 1
        if len(self.batches) < self.capacity:
            self.batches.append((samples, answers))
        elif (slot := rng.randrange(self.seen)) < self.capacity:
            self.batches[slot] = (samples, answers)

    def state_dict(self) -> dict[str, object]:
        """Batches and counter, for a checkpoint."""
        return {"seen": self.seen, "batches": [(samples.cpu(), answers.cpu()) for samples, answers in self.batches]}

    def load_state_dict(self, state: dict[str, object], device: torch.device) -> None:
        """Restores what ``state_dict`` gave, onto a device."""
        seen, batches = state["seen"], state["batches"]
        assert isinstance(seen, int)
        assert isinstance(batches, list)
        self.seen = seen
        self.batches = [(samples.to(device), answers.to(device)) for samples, answers in batches]
