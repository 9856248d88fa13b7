"""Which classes the victim sees in the queries."""

import torch
from torch import Tensor
from torchmetrics import Metric


class LabelHistogram(Metric):
    """Entropy (nats) and largest share of the victim's labels over the queries since the last reset.

    Args:
        num_classes: Number of classes.

    Shape:
        update: labels ``(B,)``; compute: two scalars, entropy in [0, ln K].
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, labels: Tensor) -> None:
        """Adds a batch of labels."""
        self.counts.scatter_add_(0, labels, torch.ones_like(labels))

    def compute(self) -> dict[str, Tensor]:
        """Entropy and largest share over all processes."""
        shares = self.counts / self.counts.sum().clamp_min(1)
        return {"label_entropy": torch.special.entr(shares).sum(), "label_top_share": shares.max()}
