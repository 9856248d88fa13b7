"""The dropout of a network, set from outside: papers change it by data set."""

from torch import nn

from lightning_extract.errors import InputError

DROPOUT_LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def set_dropout(network: nn.Module, probability: float) -> None:
    """Gives every dropout layer of a network the same probability.

    Args:
        network: The network, changed in place.
        probability: Of dropping an element, or a channel where the layer drops whole channels.

    Raises:
        InputError: The probability is not in [0, 1), or the network has no dropout layer.
    """
    if not 0.0 <= probability < 1.0:
        raise InputError(f"dropout is {probability}, but it must be at least 0 and below 1; correct it.")
    layers = [layer for layer in network.modules() if isinstance(layer, DROPOUT_LAYERS)]
    if not layers:
        raise InputError(
            f"dropout is {probability}, but {type(network).__name__} has no dropout layer; set it to null, or choose "
            "a network with dropout."
        )
    for layer in layers:
        layer.p = probability
