"""How close a clone is to the truth and to the victim."""

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_extract.functional.logits import PROBABILITY_FLOOR


class CloneQuality(Metric):
    """Accuracy, agreement and KL divergence of one network's probabilities over a data set.

    ``accuracy`` counts the true labels, ``agreement`` the victim's top-1 labels, and ``kl`` is the mean of
    ``KL(victim || clone)`` in nats.

    Shape:
        update: clone ``(B, K)``, victim ``(B, K)`` probabilities, labels ``(B,)``; compute: three scalars.

    Example:
        >>> quality = CloneQuality()
        >>> quality.update(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.8, 0.2]]), torch.tensor([1]))
        >>> {name: round(float(value), 4) for name, value in quality.compute().items()}
        {'accuracy': 0.0, 'agreement': 1.0, 'kl': 0.0444}
    """

    full_state_update = False
    correct: Tensor
    agreed: Tensor
    divergence: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("correct", "agreed", "total"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("divergence", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, clone: Tensor, victim: Tensor, labels: Tensor) -> None:
        """Adds a batch."""
        predicted = clone.argmax(dim=1)
        self.correct += (predicted == labels).sum()
        self.agreed += (predicted == victim.argmax(dim=1)).sum()
        log_ratio = victim.clamp_min(PROBABILITY_FLOOR).log() - clone.clamp_min(PROBABILITY_FLOOR).log()
        self.divergence += (victim * log_ratio).sum()
        self.total += len(labels)

    def compute(self) -> dict[str, Tensor]:
        """The three numbers over all samples of all processes."""
        return {
            "accuracy": self.correct / self.total,
            "agreement": self.agreed / self.total,
            "kl": self.divergence / self.total,
        }
