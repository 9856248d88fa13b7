"""Nearest upsampling and a 3x3 convolution in one layer."""

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, conv_transpose2d, interpolate, pad


class UpsampleConv2d(nn.Conv2d):
    """Doubles the image side by nearest upsampling, then applies a 3x3 convolution with padding 1.

    Parameters are those of the convolution. The upsampled image holds every pixel four times, so 5/9 of the
    convolution's multiplications are redundant. CPUs therefore compute the same function as one transposed
    convolution of stride 2, with the 3x3 kernel folded to 4x4.

    Shape:
        ``(B, in_channels, H, W)`` to ``(B, out_channels, 2 H, 2 W)``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type == "cpu":
            return conv_transpose2d(input, fold_kernel(self.weight), self.bias, stride=2, padding=1)
        return conv2d(interpolate(input, scale_factor=2.0, mode="nearest"), self.weight, self.bias, padding=1)


def fold_kernel(weight: Tensor) -> Tensor:
    """The transposed convolution's kernel that equals nearest upsampling and a 3x3 convolution.

    In one dimension ``(a, b, c)`` becomes ``(c, b + c, a + b, a)``: the flipped kernel convolved with the
    upsampling's ``(1, 1)``.

    Shape:
        ``(O, I, 3, 3)`` to ``(I, O, 4, 4)``.
    """
    flipped = pad(weight.flip(2, 3), (1, 1, 1, 1))
    return avg_pool2d(flipped, kernel_size=2, stride=1, divisor_override=1).transpose(0, 1)
