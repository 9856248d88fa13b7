"""AlexNet for 32x32 images and its half-width variant."""

from torch import Tensor, nn

from .image_checks import require_images, require_size

# Channels of the five convolutions, units of the two hidden layers: the official DFMS code.
ALEXNET_WIDTHS = (48, 128, 192, 192, 128)
ALEXNET_UNITS = (512, 256)
ALEXNET_HALF_WIDTHS = (24, 64, 96, 96, 64)
ALEXNET_HALF_UNITS = (256, 128)
BATCH_NORM_EPS = 1e-3
RESPONSE_NORM_SIZE = 2
DROPOUT = 0.5
SIDES = (32,)
# Three pools of 3x3 with stride 2 leave sides of 15, 7 and 3.
FINAL_SIDE = 3


class AlexNet(nn.Module):
    """Five convolutions and three linear layers, each hidden one with ReLU and, last, BatchNorm.

    Reference:
        Sanyal et al., DFMS, CVPR 2022, official code: the AlexNet victim and its half as the clone. After Krizhevsky
        et al., ImageNet Classification with Deep Convolutional Neural Networks, NeurIPS 2012, whose are the initial
        biases of the convolutions, the response normalisation of the first two, and the overlapping pools.

    Args:
        widths: Channels of the five convolutions.
        units: Units of the two hidden linear layers.
        num_classes: Number of logits.
        channels: Channels of the images.
        image_size: Side of the images in pixels; 32 only, as the linear layers expect maps of 3x3.

    Shape:
        ``(B, channels, 32, 32)`` to ``(B, num_classes)`` logits.

    Raises:
        InputError: The image size is not 32.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int, int],
        units: tuple[int, int],
        num_classes: int,
        channels: int = 3,
        image_size: int = 32,
    ) -> None:
        super().__init__()
        require_size("AlexNet", SIDES, image_size)
        self.features = nn.Sequential(
            _convolution(channels, widths[0], 5, bias=0.0),
            nn.ReLU(),
            nn.LocalResponseNorm(RESPONSE_NORM_SIZE),
            nn.MaxPool2d(3, stride=2),
            nn.BatchNorm2d(widths[0], BATCH_NORM_EPS),
            _convolution(widths[0], widths[1], 5, bias=1.0),
            nn.ReLU(),
            nn.LocalResponseNorm(RESPONSE_NORM_SIZE),
            nn.MaxPool2d(3, stride=2),
            nn.BatchNorm2d(widths[1], BATCH_NORM_EPS),
            _convolution(widths[1], widths[2], 3, bias=0.0),
            nn.ReLU(),
            nn.BatchNorm2d(widths[2], BATCH_NORM_EPS),
            _convolution(widths[2], widths[3], 3, bias=1.0),
            nn.ReLU(),
            nn.BatchNorm2d(widths[3], BATCH_NORM_EPS),
            _convolution(widths[3], widths[4], 3, bias=1.0),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.BatchNorm2d(widths[4], BATCH_NORM_EPS),
        )
        self.classifier = nn.Sequential(
            *_hidden(widths[4] * FINAL_SIDE**2, units[0]), *_hidden(*units), _linear(units[1], num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        require_images("AlexNet", SIDES, images)
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits


def _convolution(in_channels: int, channels: int, kernel_size: int, bias: float) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)
    return layer


def _linear(in_features: int, out_features: int) -> nn.Linear:
    layer = nn.Linear(in_features, out_features)
    nn.init.zeros_(layer.bias)
    return layer


def _hidden(in_features: int, units: int) -> list[nn.Module]:
    return [_linear(in_features, units), nn.ReLU(), nn.Dropout(DROPOUT), nn.BatchNorm1d(units, BATCH_NORM_EPS)]
