"""The layer of a classifier that gives the logits."""

from torch import nn

from lightning_extract.errors import InputError


def classification_head(network: nn.Module) -> nn.Linear:
    """The last linear layer, in the order of definition; in every network of this package it gives the logits.

    Args:
        network: A single classifier.

    Raises:
        InputError: The network has no linear layer.

    Example:
        >>> classification_head(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 10)))
        Linear(in_features=4, out_features=10, bias=True)
    """
    linear_layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    if not linear_layers:
        raise InputError(
            f"{type(network).__name__} has no linear layer to give its logits; choose a classifier that ends in one."
        )
    return linear_layers[-1]
