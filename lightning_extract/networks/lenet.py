"""LeNet-5 with ReLU and max pooling, and its half-width variant."""

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from .image_checks import require_images, require_size

# Channels of the three convolutions, units of the hidden layer: LeCun et al. 1998; the halves are those of
# the DFAD code, which DisGUIDE's MNIST clones come from.
LENET5_WIDTHS = (6, 16, 120, 84)
LENET5_HALF_WIDTHS = (3, 8, 60, 42)
SIDES = (32,)


class LeNet5(nn.Module):
    """Three 5x5 convolutions and two linear layers.

    Reference:
        LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, as in the DFAD code.

    Args:
        widths: Channels of the three convolutions and units of the hidden layer.
        num_classes: Number of logits.
        channels: Channels of the images.
        image_size: Side of the images in pixels; 32 only, since the third convolution spans its whole input.

    Shape:
        ``(B, channels, 32, 32)`` to ``(B, num_classes)`` logits.

    Raises:
        InputError: The image size is not 32.
    """

    def __init__(
        self, widths: tuple[int, int, int, int], num_classes: int, channels: int = 1, image_size: int = 32
    ) -> None:
        super().__init__()
        require_size("LeNet-5", SIDES, image_size)
        self.conv1 = nn.Conv2d(channels, widths[0], 5)
        self.conv2 = nn.Conv2d(widths[0], widths[1], 5)
        self.conv3 = nn.Conv2d(widths[1], widths[2], 5)
        self.fc1 = nn.Linear(widths[2], widths[3])
        self.fc2 = nn.Linear(widths[3], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        require_images("LeNet-5", SIDES, images)
        features = max_pool2d(relu(self.conv1(images)), 2)
        features = max_pool2d(relu(self.conv2(features)), 2)
        features = relu(self.conv3(features)).flatten(1)
        logits: Tensor = self.fc2(relu(self.fc1(features)))
        return logits
