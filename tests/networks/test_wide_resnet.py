import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from lightning_extract.errors import InputError
from lightning_extract.networks import WideResNet, build_classifier
from lightning_extract.networks.wide_resnet import PreActivationBlock


def randomise_batch_norms(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)


@pytest.mark.parametrize(("in_channels", "stride"), [(4, 1), (3, 1), (3, 2)])
def test_shortcut_is_raw_where_the_width_stays_and_activated_where_it_changes(in_channels: int, stride: int) -> None:
    torch.manual_seed(0)
    block = PreActivationBlock(in_channels, 4, stride, dropout=0.0)
    randomise_batch_norms(block)
    features = torch.randn(2, in_channels, 6, 6)
    # With the residual branch at zero, the shortcut is left.
    nn.init.zeros_(block.conv2.weight)
    expected = features
    if in_channels != 4:
        assert block.convShortcut is not None
        kernel = block.convShortcut.weight[:, :, 0, 0]
        activated = block.bn1(features).clamp(min=0)[..., ::stride, ::stride]
        expected = torch.einsum("oi,bihw->bohw", kernel, activated)
    torch.testing.assert_close(block(features), expected)


def test_images_of_28_pixels_are_upsampled_bilinearly() -> None:
    torch.manual_seed(0)
    network = build_classifier("wrn_16_1", 10, channels=1, image_size=28).eval()
    images = torch.rand(3, 1, 28, 28)
    upsampled = interpolate(images, size=(32, 32), mode="bilinear", align_corners=False)
    assert torch.equal(network(images), network(upsampled))


def test_linear_bias_starts_at_zero() -> None:
    network = build_classifier("wrn_16_1", 10)
    assert isinstance(network, WideResNet)
    assert not network.fc.bias.any()
    assert network.fc.weight.any()


def test_dropout_lies_between_the_convolutions() -> None:
    torch.manual_seed(0)
    block = PreActivationBlock(4, 4, stride=1, dropout=1.0)
    features = torch.randn(2, 4, 6, 6)
    assert torch.equal(block(features), features)
    block.eval()
    assert not torch.equal(block(features), features)


def test_dropout_is_the_papers_in_wrn_28_10_only() -> None:
    with torch.device("meta"):
        networks = {name: build_classifier(name, 10) for name in ("wrn_16_1", "wrn_22_2", "wrn_40_2", "wrn_28_10")}
    rates = {name: {m.p for m in n.modules() if isinstance(m, nn.Dropout)} for name, n in networks.items()}
    assert rates == {"wrn_16_1": {0.0}, "wrn_22_2": {0.0}, "wrn_40_2": {0.0}, "wrn_28_10": {0.3}}


@pytest.mark.parametrize("image_size", [24, 30, 64])
def test_other_sizes_are_refused(image_size: int) -> None:
    message = f"28x28 or 32x32 pixels, not {image_size}x{image_size}; set image_size to 28 or 32"
    with pytest.raises(InputError, match=message):
        build_classifier("wrn_16_1", 10, image_size=image_size)
    with pytest.raises(InputError, match=message):
        build_classifier("wrn_16_1", 10)(torch.zeros(2, 3, image_size, image_size))


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(InputError, match="not 28x32"):
        build_classifier("wrn_16_1", 10)(torch.zeros(2, 3, 28, 32))


@pytest.mark.parametrize("depth", [4, 20, 18])
def test_depth_is_6n_plus_4(depth: int) -> None:
    with pytest.raises(InputError, match=f"depth is {depth}, but it is 6 n \\+ 4"):
        WideResNet(depth, 1, num_classes=10)


def test_widen_factor_is_positive() -> None:
    with pytest.raises(InputError, match="widen_factor is 0"):
        WideResNet(16, 0, num_classes=10)
