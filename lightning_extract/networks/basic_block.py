"""The residual block of the ResNets for small images."""

from torch import Tensor, nn
from torch.nn.functional import relu


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


def stage(blocks: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
    """Blocks of one width, the first of which has the stride."""
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, stride=1) for _ in range(blocks - 1)))


def initialise_convolutions(module: nn.Module) -> None:
    """Draws the weights of every convolution from N(0, 2 / fan_out), after He et al., ICCV 2015."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
