"""Networks by name, without training code."""

from collections.abc import Callable
from functools import partial

from torch import nn

from lightning_extract.errors import InputError

from .alexnet import ALEXNET_HALF_UNITS, ALEXNET_HALF_WIDTHS, ALEXNET_UNITS, ALEXNET_WIDTHS, AlexNet
from .batch_norm import AllReduceBatchNorm, set_batch_norm_momentum, synchronise_batch_norm
from .dcgan import DCGANDiscriminator, DCGANGenerator, initialise_dcgan
from .dropout import set_dropout
from .ensemble import CloneEnsemble
from .fresh_weights import fresh_weights
from .generator import DFMEGenerator
from .head import classification_head
from .knockoff_lenet import KnockoffLeNet
from .lenet import LENET5_HALF_WIDTHS, LENET5_WIDTHS, LeNet5
from .moving_average import MovingAverage
from .resnet8x import RESNET18_BLOCKS, RESNET34_BLOCKS, ResNet8x
from .resnet20 import ResNet20
from .text_cnn import TextCNN
from .thief_cnn import ThiefCNN
from .upsample_conv import UpsampleConv2d
from .wide_resnet import WideResNet

__all__ = [
    "CLASSIFIERS",
    "TEXT_CLASSIFIERS",
    "AlexNet",
    "AllReduceBatchNorm",
    "CloneEnsemble",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DFMEGenerator",
    "KnockoffLeNet",
    "LeNet5",
    "MovingAverage",
    "ResNet8x",
    "ResNet20",
    "TextCNN",
    "ThiefCNN",
    "UpsampleConv2d",
    "WideResNet",
    "build_classifier",
    "build_text_classifier",
    "classification_head",
    "fresh_weights",
    "initialise_dcgan",
    "set_batch_norm_momentum",
    "set_dropout",
    "synchronise_batch_norm",
]

# Each is called with the number of classes, the channels and the side of the images.
CLASSIFIERS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "resnet18_8x": partial(ResNet8x, RESNET18_BLOCKS),
    "resnet34_8x": partial(ResNet8x, RESNET34_BLOCKS),
    "resnet20": ResNet20,
    "wrn_16_1": partial(WideResNet, 16, 1),
    "wrn_22_2": partial(WideResNet, 22, 2),
    "wrn_40_2": partial(WideResNet, 40, 2),
    # The paper's dropout, Zagoruyko and Komodakis 2016, section 3.
    "wrn_28_10": partial(WideResNet, 28, 10, dropout=0.3),
    "lenet5": partial(LeNet5, LENET5_WIDTHS),
    "lenet5_half": partial(LeNet5, LENET5_HALF_WIDTHS),
    "alexnet": partial(AlexNet, ALEXNET_WIDTHS, ALEXNET_UNITS),
    "alexnet_half": partial(AlexNet, ALEXNET_HALF_WIDTHS, ALEXNET_HALF_UNITS),
    "lenet_20_50": KnockoffLeNet,
    "cnn_2_1": partial(ThiefCNN, 2, 1),
    "cnn_2_2": partial(ThiefCNN, 2, 2),
    "cnn_3_1": partial(ThiefCNN, 3, 1),
    "cnn_3_2": partial(ThiefCNN, 3, 2),
    "cnn_4_2": partial(ThiefCNN, 4, 2),
}

# Each is called with the number of classes, the words of the vocabulary, the length of a word vector and whether the
# vectors are kept from training.
TEXT_CLASSIFIERS: dict[str, Callable[[int, int, int, bool], nn.Module]] = {"text_cnn": TextCNN}


def build_classifier(name: str, num_classes: int, channels: int = 3, image_size: int = 32) -> nn.Module:
    """A classifier with fresh weights, which maps images to logits.

    Args:
        name: A name in ``CLASSIFIERS``.
        num_classes: Number of logits, at least 2.
        channels: Channels of the images, 1 or 3.
        image_size: Side of the images in pixels.

    Shape:
        The network takes ``(B, channels, image_size, image_size)`` to ``(B, num_classes)``.

    Raises:
        InputError: The name is unknown, or the network cannot have these sizes.

    Example:
        >>> sum(p.numel() for p in build_classifier("lenet5", num_classes=10, channels=1).parameters())
        61706
    """
    if name not in CLASSIFIERS:
        raise InputError(f"the classifier {name!r} is unknown; choose one of {', '.join(CLASSIFIERS)}.")
    _require_classes(num_classes)
    if channels not in (1, 3):
        raise InputError(f"channels is {channels}, but images have 1 (grey) or 3 (colour); set one of these.")
    return CLASSIFIERS[name](num_classes, channels, image_size)


def build_text_classifier(
    name: str, num_classes: int, vocabulary: int, embedding_dim: int = 300, static: bool = False
) -> nn.Module:
    """A classifier with fresh weights, which maps word numbers to logits.

    Args:
        name: A name in ``TEXT_CLASSIFIERS``.
        num_classes: Number of logits, at least 2.
        vocabulary: Number of words, padding included.
        embedding_dim: Length of a word vector; 300 is that of word2vec's vectors, which ActiveThief's victims use.
        static: Whether the word vectors are kept from training.

    Shape:
        The network takes int64 ``(B, L)`` to ``(B, num_classes)``.

    Raises:
        InputError: The name is unknown, or the network cannot have these sizes.

    Example:
        >>> classifier = build_text_classifier("text_cnn", num_classes=2, vocabulary=1000, embedding_dim=50)
        >>> sum(p.numel() for p in classifier.parameters())
        110902
    """
    if name not in TEXT_CLASSIFIERS:
        raise InputError(f"the text classifier {name!r} is unknown; choose one of {', '.join(TEXT_CLASSIFIERS)}.")
    _require_classes(num_classes)
    return TEXT_CLASSIFIERS[name](num_classes, vocabulary, embedding_dim, static)


def _require_classes(num_classes: int) -> None:
    if num_classes < 2:
        raise InputError(f"num_classes is {num_classes}, but a classifier needs at least 2; give the data's number.")
