import pytest
import torch
from torch.nn.functional import conv2d, interpolate
from torch.testing import assert_close

from lightning_extract.networks import UpsampleConv2d
from lightning_extract.networks.upsample_conv import fold_kernel


@pytest.mark.parametrize(("height", "width"), [(7, 7), (8, 8), (1, 1), (5, 2)])
def test_equals_upsampling_and_convolution(height: int, width: int) -> None:
    torch.manual_seed(0)
    layer = UpsampleConv2d(3, 5).double()
    images = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    assert layer.bias is not None
    inputs = (images, layer.weight, layer.bias)
    expected = conv2d(interpolate(images, scale_factor=2.0, mode="nearest"), layer.weight, layer.bias, padding=1)
    found = layer(images)
    assert found.shape == (2, 5, 2 * height, 2 * width)
    assert_close(found, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(expected)
    found_gradients = torch.autograd.grad(found, inputs, direction)
    for found_gradient, gradient in zip(found_gradients, torch.autograd.grad(expected, inputs, direction), strict=True):
        assert_close(found_gradient, gradient, rtol=1e-12, atol=1e-12)


def test_folded_kernel_by_hand() -> None:
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 0] = torch.tensor([1.0, 10.0, 100.0])
    row = [100.0, 110.0, 11.0, 1.0]
    assert fold_kernel(weight)[0, 0].tolist() == [[0.0] * 4, [0.0] * 4, row, row]


def test_parameters_are_those_of_the_convolution() -> None:
    layer = UpsampleConv2d(3, 5)
    assert {n: tuple(p.shape) for n, p in layer.named_parameters()} == {"weight": (5, 3, 3, 3), "bias": (5,)}


def test_accelerator_form_has_the_same_shape() -> None:
    layer = UpsampleConv2d(3, 5).to("meta")
    assert layer(torch.empty(2, 3, 7, 8, device="meta")).shape == (2, 5, 14, 16)
