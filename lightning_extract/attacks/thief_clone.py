"""The clone of a pool attack."""

from torch import nn

from lightning_extract.attacks.rounds import TextClones
from lightning_extract.attacks.settings import CloneTraining
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.errors import InputError
from lightning_extract.networks import (
    CLASSIFIERS,
    TEXT_CLASSIFIERS,
    build_classifier,
    build_text_classifier,
    set_batch_norm_momentum,
    set_dropout,
)


def build_clone(
    threat_model: ThreatModel,
    clone_training: CloneTraining,
    text: TextClones,
    dropout: float | None,
    batch_norm_momentum: float | None,
) -> nn.Module:
    """A clone with fresh weights, for images or for sentences.

    Args:
        threat_model: What it answers to.
        clone_training: Its network.
        text: What it reads, if sentences.
        dropout: Of its dropout layers; the network's own when None.
        batch_norm_momentum: Of its batch normalisation; the network's own when None.

    Raises:
        InputError: The network is unknown or of another medium, or has no such layers.
    """
    assert isinstance(threat_model.num_classes, int)  # checked before
    network, num_classes = clone_training.network, threat_model.num_classes
    reads = "text" if network in TEXT_CLASSIFIERS else "images"
    if (network in TEXT_CLASSIFIERS or network in CLASSIFIERS) and reads != threat_model.medium:
        raise InputError(
            f"the clones' network {network} reads {reads}, but threat_model.medium is {threat_model.medium}; change one"
        )
    if threat_model.medium == "images":
        clone = build_classifier(network, num_classes, threat_model.channels, threat_model.image_size)
    else:
        clone = build_text_classifier(network, num_classes, text.vocabulary, text.embedding_dim, text.static)
    if dropout is not None:
        set_dropout(clone, dropout)
    if batch_norm_momentum is not None:
        set_batch_norm_momentum(clone, batch_norm_momentum)
    return clone
