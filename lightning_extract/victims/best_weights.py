"""The weights that a validation set prefers, and when to stop looking for better ones."""

from typing import Any

from torch import Tensor, nn

from lightning_extract.errors import InputError


class BestWeights:
    """Keeps the weights of the epoch with the best validation accuracy; of equal epochs the first.

    Args:
        patience: Epochs without a better accuracy before the search is over.

    Attributes:
        accuracy: The best accuracy so far, a fraction; below 0 before the first.
        epoch: The epoch it was found in, from 0.
        weights: What the network held then, by name.

    Raises:
        InputError: The patience is below 1.
    """

    def __init__(self, patience: int) -> None:
        if patience < 1:
            raise InputError(f"patience is {patience}, it must be at least 1 epoch")
        self.patience = patience
        self.accuracy, self.epoch, self.last_epoch = -1.0, -1, -1
        self.weights: dict[str, Tensor] = {}

    def observe(self, accuracy: float, epoch: int, network: nn.Module) -> None:
        """Takes note of an epoch that was evaluated."""
        self.last_epoch = epoch
        if accuracy > self.accuracy:
            self.accuracy, self.epoch = accuracy, epoch
            self.weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @property
    def exhausted(self) -> bool:
        """Whether the last evaluated epochs, as many as the patience, found nothing better."""
        return self.last_epoch - self.epoch >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """All of it in plain types and tensors, for a checkpoint."""
        return {name: getattr(self, name) for name in ("accuracy", "epoch", "last_epoch", "weights")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` gave; the patience stays this object's own."""
        self.accuracy, self.epoch, self.last_epoch = state["accuracy"], state["epoch"], state["last_epoch"]
        self.weights = dict(state["weights"])
