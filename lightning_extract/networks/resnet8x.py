"""ResNets for 32x32 images that reduce the image side eightfold, from 32 to 4."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from .basic_block import initialise_convolutions, stage
from .image_checks import require_images, require_size

# He et al., Deep Residual Learning, CVPR 2016, table 1; the first convolution and the missing max pool are
# those of the DFAD, DFME and DisGUIDE codes.
STAGE_WIDTHS = (64, 128, 256, 512)
RESNET18_BLOCKS = (2, 2, 2, 2)
RESNET34_BLOCKS = (3, 4, 6, 3)
SIDES = (32,)


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
        require_size("ResNet-8x", SIDES, image_size)
        self.conv1 = nn.Conv2d(channels, STAGE_WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGE_WIDTHS[0])
        self.layer1 = stage(blocks[0], STAGE_WIDTHS[0], STAGE_WIDTHS[0], stride=1)
        self.layer2 = stage(blocks[1], STAGE_WIDTHS[0], STAGE_WIDTHS[1], stride=2)
        self.layer3 = stage(blocks[2], STAGE_WIDTHS[1], STAGE_WIDTHS[2], stride=2)
        self.layer4 = stage(blocks[3], STAGE_WIDTHS[2], STAGE_WIDTHS[3], stride=2)
        self.linear = nn.Linear(STAGE_WIDTHS[3], num_classes)
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        require_images("ResNet-8x", SIDES, images)
        features = relu(self.bn1(self.conv1(images)))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        logits: Tensor = self.linear(avg_pool2d(features, 4).flatten(1))
        return logits
