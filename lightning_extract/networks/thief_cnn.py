"""The image networks of ActiveThief, ``cnn_<blocks>_<convolutions per block>``."""

from torch import Tensor, nn

from lightning_extract.errors import InputError

# ActiveThief, official code models/cnn.py.
BLOCK_WIDTHS = (32, 64, 128, 256)
# TensorFlow's BatchNorm defaults, which that code leaves; its momentum 0.99 is 0.01 in PyTorch's terms.
BATCH_NORM_MOMENTUM = 0.01
BATCH_NORM_EPS = 1e-3


class ThiefCNN(nn.Module):
    """Blocks of 3x3 convolutions, each with ReLU and then BatchNorm; a 2x2 max pool ends a block.

    Reference:
        Pal et al., ActiveThief, AAAI 2020; cnn_2_2, cnn_3_2, cnn_4_2 are its low, base and high complexity.

    Deviations:
        The released TensorFlow code never lets BatchNorm normalise; the paper's text, and this network, do.
        The linear layer has PyTorch's initial weights.

    Args:
        blocks: Number of blocks, 1 to 4.
        convolutions: Convolutions in each block.
        num_classes: Number of logits.
        channels: Channels of the images.
        image_size: Side of the images in pixels.
        dropout: Probability to drop one element after a block. The paper has 0.1, and 0.2 for CIFAR-10; the
            official code 0.5.

    Shape:
        ``(B, channels, image_size, image_size)`` to ``(B, num_classes)`` logits.

    Raises:
        InputError: The number of blocks is not 1 to 4, or no pixel would be left after the pools.
    """

    def __init__(
        self,
        blocks: int,
        convolutions: int,
        num_classes: int,
        channels: int = 3,
        image_size: int = 32,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not 1 <= blocks <= len(BLOCK_WIDTHS):
            raise InputError(
                f"blocks is {blocks}, but the cnn_ family has 1 to {len(BLOCK_WIDTHS)}; choose one of these."
            )
        final_size = image_size // 2**blocks
        if final_size < 1:
            raise InputError(
                f"cnn_{blocks}_{convolutions} halves the image side {blocks} times, so {image_size} pixels "
                f"are too few; set image_size to at least {2**blocks}."
            )
        widths = (channels, *BLOCK_WIDTHS[:blocks])
        self.blocks = nn.Sequential(*(_block(convolutions, widths[i], widths[i + 1], dropout) for i in range(blocks)))
        self.linear = nn.Linear(widths[-1] * final_size**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.blocks(images).flatten(1))
        return logits


def _block(convolutions: int, in_channels: int, channels: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(convolutions):
        convolution = nn.Conv2d(in_channels if i == 0 else channels, channels, 3, padding=1)
        # TensorFlow's default initial weights, which the official code leaves.
        nn.init.xavier_uniform_(convolution.weight)
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
        layers += [convolution, nn.ReLU(), nn.BatchNorm2d(channels, BATCH_NORM_EPS, BATCH_NORM_MOMENTUM)]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Dropout(dropout))
