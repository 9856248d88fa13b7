"""The LeNet of Knockoff Nets and MAZE, for 28x28 images."""

from torch import Tensor, nn

from .image_checks import require_images, require_size

# models/lenet.py of the official MAZE code, from Knockoff Nets: channels of the convolutions, units of the
# hidden layer.
WIDTHS = (20, 50, 500)
SIDES = (28,)


class KnockoffLeNet(nn.Module):
    """Two 5x5 convolutions with ReLU and 2x2 max pooling, and two linear layers; MAZE's grey victim.

    The ``state_dict`` has the official codes' names.

    Reference:
        ``models/lenet.py`` of the official MAZE code, ``models/mnist/lenet.py`` of the official Knockoff Nets code.

    Args:
        num_classes: Number of logits.
        channels: Channels of the images; 1 in the codes.
        image_size: Side of the images in pixels; 28 only, for which the hidden layer has its 4x4 maps.

    Shape:
        ``(B, channels, 28, 28)`` to ``(B, num_classes)`` logits.

    Raises:
        InputError: The image size is not 28.
    """

    def __init__(self, num_classes: int, channels: int = 1, image_size: int = 28) -> None:
        super().__init__()
        require_size("lenet_20_50", SIDES, image_size)
        self.features = nn.Sequential(
            nn.Conv2d(channels, WIDTHS[0], 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(WIDTHS[0], WIDTHS[1], 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(WIDTHS[1] * 4 * 4, WIDTHS[2]), nn.ReLU(), nn.Linear(WIDTHS[2], num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        require_images("lenet_20_50", SIDES, images)
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits
