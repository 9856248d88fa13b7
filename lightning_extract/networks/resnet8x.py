"""ResNets for 32x32 images that reduce the image side eightfold, from 32 to 4."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from .image_checks import require_32_pixels, require_images_of_32_pixels

# He et al., Deep Residual Learning, CVPR 2016, table 1; the first convolution and the missing max pool are
# those of the DFAD, DFME and DisGUIDE codes.
STAGE_WIDTHS = (64, 128, 256, 512)
RESNET18_BLOCKS = (2, 2, 2, 2)
RESNET34_BLOCKS = (3, 4, 6, 3)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where stride or width change.

    Shape:
        ``(B, in_channels, H, W)`` to ``(B, channels, ceil(H / stride), ceil(W / stride))``.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut.append(nn.Conv2d(in_channels, channels, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(relu(self.bn1(self.conv1(features)))))
        return relu(residual + self.shortcut(features))


class ResNet8x(nn.Module):
    """ResNet-18-8x or ResNet-34-8x, by the number of blocks.

    The ``state_dict`` has the names of the public victim checkpoints, which load unchanged.

    Reference:
        ``network/resnet_8x.py`` of the official DFME and DisGUIDE codes.

    Args:
        blocks: Blocks in each of the four stages.
        num_classes: Number of logits.
        channels: Channels of the images.
        image_size: Side of the images in pixels; 32 only, as the last pooling is a fixed 4x4 mean.

    Shape:
        ``(B, channels, 32, 32)`` to ``(B, num_classes)`` logits.

    Raises:
        InputError: The image size is not 32.
    """

    def __init__(self, blocks: Sequence[int], num_classes: int, channels: int = 3, image_size: int = 32) -> None:
        super().__init__()
        require_32_pixels("ResNet-8x", image_size, image_size)
        self.conv1 = nn.Conv2d(channels, STAGE_WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGE_WIDTHS[0])
        self.layer1 = _stage(blocks[0], STAGE_WIDTHS[0], STAGE_WIDTHS[0], stride=1)
        self.layer2 = _stage(blocks[1], STAGE_WIDTHS[0], STAGE_WIDTHS[1], stride=2)
        self.layer3 = _stage(blocks[2], STAGE_WIDTHS[1], STAGE_WIDTHS[2], stride=2)
        self.layer4 = _stage(blocks[3], STAGE_WIDTHS[2], STAGE_WIDTHS[3], stride=2)
        self.linear = nn.Linear(STAGE_WIDTHS[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        require_images_of_32_pixels("ResNet-8x", images)
        features = relu(self.bn1(self.conv1(images)))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        logits: Tensor = self.linear(avg_pool2d(features, 4).flatten(1))
        return logits


def _stage(blocks: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, stride=1) for _ in range(blocks - 1)))
