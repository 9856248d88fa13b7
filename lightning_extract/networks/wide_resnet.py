"""Wide ResNets with pre-activation blocks."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from lightning_extract.errors import InputError

from .basic_block import initialise_convolutions
from .image_checks import require_images, require_size

# Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016, table 1: the first convolution, then the groups'
# widths before widening.
FIRST_WIDTH = 16
GROUP_WIDTHS = (16, 32, 64)
# The official MAZE code upsamples the grey 28x28 images to 32x32.
SIDES = (28, 32)


class PreActivationBlock(nn.Module):
    """BatchNorm and ReLU before each of two 3x3 convolutions.

    Where the width changes, the shortcut is a 1x1 convolution of the already activated input; elsewhere it is
    the input itself.

    Shape:
        ``(B, in_channels, H, W)`` to ``(B, channels, ceil(H / stride), ceil(W / stride))``.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        wider = in_channels != channels
        self.convShortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False) if wider else None

    def forward(self, features: Tensor) -> Tensor:
        activated = relu(self.bn1(features))
        shortcut = features if self.convShortcut is None else self.convShortcut(activated)
        residual: Tensor = self.conv2(self.dropout(relu(self.bn2(self.conv1(activated)))))
        return shortcut + residual


class WideResNet(nn.Module):
    """WRN-depth-widen_factor; MAZE's clone is WRN-22-2.

    The ``state_dict`` has the names of xternalz/WideResNet-pytorch, which MAZE, DFAD and others build on.

    Reference:
        Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016; ``models/wresnet.py`` of the official MAZE code.

    Args:
        depth: Number of layers, 6 n + 4 with n blocks in each of the three groups.
        widen_factor: Factor on the groups' widths 16, 32, 64.
        num_classes: Number of logits.
        channels: Channels of the images.
        image_size: Side of the images in pixels, 28 or 32; 28x28 is upsampled to 32x32 bilinearly.
        dropout: Probability to drop one element between a block's convolutions. None in MAZE; the paper has 0.3
            for CIFAR.

    Shape:
        ``(B, channels, 32, 32)`` or ``(B, channels, 28, 28)`` to ``(B, num_classes)`` logits.

    Raises:
        InputError: The depth is not 6 n + 4, the factor less than 1, or the image size neither 28 nor 32.
    """

    def __init__(
        self,
        depth: int,
        widen_factor: int,
        num_classes: int,
        channels: int = 3,
        image_size: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise InputError(f"the wide ResNet's depth is {depth}, but it is 6 n + 4; set it to 10, 16, 22, 28, ...")
        if widen_factor < 1:
            raise InputError(f"the wide ResNet's widen_factor is {widen_factor}; set it to 1 or more.")
        require_size("the wide ResNet", SIDES, image_size)
        blocks = (depth - 4) // 6
        widths = [width * widen_factor for width in GROUP_WIDTHS]
        self.conv1 = nn.Conv2d(channels, FIRST_WIDTH, 3, padding=1, bias=False)
        self.block1 = _group(blocks, FIRST_WIDTH, widths[0], 1, dropout)
        self.block2 = _group(blocks, widths[0], widths[1], 2, dropout)
        self.block3 = _group(blocks, widths[1], widths[2], 2, dropout)
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.fc = nn.Linear(widths[2], num_classes)
        initialise_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        require_images("the wide ResNet", SIDES, images)
        if images.shape[-1] != 32:
            images = interpolate(images, size=(32, 32), mode="bilinear", align_corners=False)
        features = self.block3(self.block2(self.block1(self.conv1(images))))
        logits: Tensor = self.fc(avg_pool2d(relu(self.bn1(features)), 8).flatten(1))
        return logits


def _group(blocks: int, in_channels: int, channels: int, stride: int, dropout: float) -> nn.Sequential:
    first = PreActivationBlock(in_channels, channels, stride, dropout)
    others = (PreActivationBlock(channels, channels, 1, dropout) for _ in range(blocks - 1))
    return nn.Sequential(OrderedDict(layer=nn.Sequential(first, *others)))
