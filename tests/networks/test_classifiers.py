import pytest
import torch
from torch import nn

from lightning_extract.errors import InputError
from lightning_extract.networks import CLASSIFIERS, ThiefCNN, build_classifier


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Published counts; the sums are counted by hand from the layers.
COUNTS = [
    ("resnet18_8x", 10, 3, 32, 11_173_962),
    ("resnet18_8x", 100, 3, 32, 11_220_132),
    ("resnet18_8x", 43, 3, 32, 11_173_962 + 33 * 513),
    ("resnet18_8x", 10, 1, 32, 11_173_962 - 2 * 9 * 64),
    ("resnet34_8x", 10, 3, 32, 21_282_122),
    ("resnet34_8x", 100, 3, 32, 21_328_292),
    ("resnet20", 10, 3, 32, 272_474),
    ("resnet20", 43, 1, 32, 272_474 + 33 * 65 - 2 * 9 * 16),
    ("wrn_16_1", 10, 3, 32, 175_066),
    ("wrn_22_2", 10, 3, 32, 1_079_642),
    ("wrn_22_2", 10, 1, 28, 1_079_642 - 2 * 9 * 16),
    ("wrn_40_2", 10, 3, 32, 2_243_546),
    ("wrn_28_10", 10, 3, 32, 36_479_194),
    ("lenet_20_50", 10, 1, 28, 431_080),
    ("lenet_20_50", 10, 3, 28, 431_080 + 2 * 25 * 20),
    ("lenet5", 10, 1, 32, 61_706),
    ("lenet5", 10, 3, 32, 61_706 + 2 * 25 * 6),
    ("lenet5_half", 10, 1, 32, 15_738),
    ("lenet5_half", 43, 1, 32, 15_738 + 33 * 43),
    ("cnn_2_2", 10, 1, 28, 96_746),
    ("cnn_3_2", 10, 1, 28, 298_858),
    ("cnn_4_2", 10, 1, 28, 1_176_170),
    ("cnn_2_2", 10, 3, 32, 106_922),
    ("cnn_3_2", 10, 3, 32, 308_394),
    ("cnn_4_2", 10, 3, 32, 1_184_426),
    ("cnn_2_2", 43, 3, 32, 242_123),
    ("cnn_3_2", 43, 3, 32, 376_011),
    ("cnn_4_2", 43, 3, 32, 1_218_251),
]


@pytest.mark.parametrize(("name", "num_classes", "channels", "image_size", "count"), COUNTS)
def test_parameter_count(name: str, num_classes: int, channels: int, image_size: int, count: int) -> None:
    with torch.device("meta"):
        classifier = build_classifier(name, num_classes, channels, image_size)
    assert parameter_count(classifier) == count


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_have_one_column_a_class(name: str, channels: int) -> None:
    image_size = 28 if name == "lenet_20_50" else 32
    classifier = build_classifier(name, 43, channels, image_size).eval()
    with torch.no_grad():
        logits = classifier(torch.rand(2, channels, image_size, image_size) * 2 - 1)
    assert logits.shape == (2, 43)
    assert logits.isfinite().all()


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="'vgg16' is unknown; choose one of resnet18_8x, resnet34_8x, resnet20"):
        build_classifier("vgg16", 10)


@pytest.mark.parametrize("name", ["resnet18_8x", "resnet34_8x", "resnet20", "lenet5", "lenet5_half"])
@pytest.mark.parametrize("image_size", [28, 64])
def test_other_sizes_than_32_are_refused(name: str, image_size: int) -> None:
    with pytest.raises(InputError, match=f"32x32 pixels, not {image_size}x{image_size}"):
        build_classifier(name, 10, image_size=image_size)
    with pytest.raises(InputError, match=f"32x32 pixels, not {image_size}x{image_size}"):
        build_classifier(name, 10)(torch.zeros(2, 3, image_size, image_size))


def test_lenet_of_28_pixels_refuses_others() -> None:
    with pytest.raises(InputError, match="28x28 pixels, not 32x32; set image_size to 28 or choose"):
        build_classifier("lenet_20_50", 10)
    # Maps of 29x29 pixels would be rounded down to those of 28x28.
    with pytest.raises(InputError, match="28x28 pixels, not 29x29"):
        build_classifier("lenet_20_50", 10, 1, 28)(torch.zeros(2, 1, 29, 29))


def test_sizes_that_no_network_can_have() -> None:
    with pytest.raises(InputError, match="num_classes is 1"):
        build_classifier("lenet5", 1)
    with pytest.raises(InputError, match="channels is 2"):
        build_classifier("lenet5", 10, channels=2)
    with pytest.raises(InputError, match="15 pixels are too few; set image_size to at least 16"):
        build_classifier("cnn_4_2", 10, image_size=15)
    with pytest.raises(InputError, match="blocks is 5"):
        ThiefCNN(5, 2, 10)


# 2 * 8 + 1 convolutions and 3 shortcuts; 2 * 9 + 1 and 2; 2 * 9 + 1 and 3.
@pytest.mark.parametrize(("name", "count"), [("resnet18_8x", 20), ("resnet20", 21), ("wrn_22_2", 22)])
def test_resnet_convolutions_have_fan_out_scale(name: str, count: int) -> None:
    torch.manual_seed(0)
    convolutions = [m for m in build_classifier(name, 10).modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == count
    for convolution in convolutions:
        fan_out = convolution.out_channels * convolution.kernel_size[0] ** 2
        assert convolution.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)


def test_thief_cnn_orders_layers_as_its_source() -> None:
    network = build_classifier("cnn_2_2", 10)
    assert isinstance(network, ThiefCNN)
    unit = [nn.Conv2d, nn.ReLU, nn.BatchNorm2d]
    for block in network.blocks:
        assert isinstance(block, nn.Sequential)
        assert [type(layer) for layer in block] == [*unit, *unit, nn.MaxPool2d, nn.Dropout]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((m.momentum, m.eps) == (0.01, 1e-3) for m in norms)
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.1, 0.1]


def test_thief_cnn_starts_like_its_source() -> None:
    torch.manual_seed(0)
    network = ThiefCNN(2, 2, num_classes=10)
    for convolution in (m for m in network.modules() if isinstance(m, nn.Conv2d)):
        glorot_bound = (6 / (9 * (convolution.in_channels + convolution.out_channels))) ** 0.5
        assert 0.97 * glorot_bound < convolution.weight.abs().max() <= glorot_bound
        assert convolution.bias is not None
        assert not convolution.bias.any()


def test_thief_cnn_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 3, 32, 32)
    network = ThiefCNN(2, 1, num_classes=10, dropout=0.5)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))
    without = ThiefCNN(2, 1, num_classes=10, dropout=0.0)
    assert torch.equal(without(images), without(images))
