"""The ResNet-20 for 32x32 images."""

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from .basic_block import initialise_convolutions, stage
from .image_checks import require_images, require_size

# He et al., Deep Residual Learning, CVPR 2016, section 4.2 with n = 3.
STAGE_WIDTHS = (16, 32, 64)
BLOCKS = 3
SIDES = (32,)


class ResNet20(nn.Module):
    """Three stages of three residual blocks; the network of MAZE's colour victims.

    Reference:
        ``resnet20`` of the official MAZE code. He et al. shorten by padding with zeros where the width changes;
        MAZE's shortcut is a 1x1 convolution with BatchNorm, hence 272,474 instead of 269,722 parameters.

    Args:
        num_classes: Number of logits.
        channels: Channels of the images.
        image_size: Side of the images in pixels; 32 only, as the last pooling is a fixed 8x8 mean.

    Shape:
        ``(B, channels, 32, 32)`` to ``(B, num_classes)`` logits.

    Raises:
        InputError: The image size is not 32.
    """

    def __init__(self, num_classes: int, channels: int = 3, image_size: int = 32) -> None:
        super().__init__()
        require_size("ResNet-20", SIDES, image_size)
        self.conv1 = nn.Conv2d(channels, STAGE_WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGE_WIDTHS[0])
        self.layer1 = stage(BLOCKS, STAGE_WIDTHS[0], STAGE_WIDTHS[0], stride=1)
        self.layer2 = stage(BLOCKS, STAGE_WIDTHS[0], STAGE_WIDTHS[1], stride=2)
        self.layer3 = stage(BLOCKS, STAGE_WIDTHS[1], STAGE_WIDTHS[2], stride=2)
        self.linear = nn.Linear(STAGE_WIDTHS[2], num_classes)
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        require_images("ResNet-20", SIDES, images)
        features = relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.linear(avg_pool2d(features, 8).flatten(1))
        return logits
