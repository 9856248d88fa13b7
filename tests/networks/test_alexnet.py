from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_extract.errors import InputError
from lightning_extract.networks import (
    AllReduceBatchNorm,
    build_classifier,
    classification_head,
    synchronise_batch_norm,
)
from tests.two_processes import rank_file, run_on_two_processes

NAMES = ["alexnet", "alexnet_half"]


def random_images(count: int, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def seeded(name: str, num_classes: int = 10, channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return build_classifier(name, num_classes, channels)


# Published counts; the sums are counted by hand from the layers.
@pytest.mark.parametrize(
    ("name", "num_classes", "channels", "count"),
    [
        ("alexnet", 10, 3, 1_659_178),
        ("alexnet", 100, 3, 1_659_178 + 90 * 257),
        ("alexnet", 10, 1, 1_659_178 - 2 * 25 * 48),
        ("alexnet_half", 10, 3, 417_434),
        ("alexnet_half", 100, 1, 417_434 + 90 * 129 - 2 * 25 * 24),
    ],
)
def test_parameter_count(name: str, num_classes: int, channels: int, count: int) -> None:
    with torch.device("meta"):
        network = build_classifier(name, num_classes, channels)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("name", NAMES)
def test_pools_leave_sides_of_15_7_and_3(name: str) -> None:
    network, sides = seeded(name), []
    for layer in network.modules():
        if isinstance(layer, nn.MaxPool2d):
            layer.register_forward_hook(lambda _layer, _inputs, output: sides.append(tuple(output.shape[-2:])))
    network(random_images(2))
    assert sides == [(15, 15), (7, 7), (3, 3)]


@pytest.mark.parametrize("name", NAMES)
def test_layers_have_the_published_order(name: str) -> None:
    leaves = [layer for layer in seeded(name).modules() if not list(layer.children())]
    with_response_norm = [nn.Conv2d, nn.ReLU, nn.LocalResponseNorm, nn.MaxPool2d, nn.BatchNorm2d]
    plain = [nn.Conv2d, nn.ReLU, nn.BatchNorm2d]
    last = [nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.BatchNorm2d]
    hidden = [nn.Linear, nn.ReLU, nn.Dropout, nn.BatchNorm1d]
    assert [type(layer) for layer in leaves] == [
        *with_response_norm, *with_response_norm, *plain, *plain, *last, *hidden, *hidden, nn.Linear
    ]  # fmt: skip
    assert [layer.p for layer in leaves if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    assert [layer.size for layer in leaves if isinstance(layer, nn.LocalResponseNorm)] == [2, 2]


@pytest.mark.parametrize("name", NAMES)
def test_initial_biases(name: str) -> None:
    network = seeded(name)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    biases = [layer.bias for layer in convolutions if layer.bias is not None]
    assert [sorted(set(bias.tolist())) for bias in biases] == [[0.0], [1.0], [0.0], [1.0], [1.0]]
    assert [c.kernel_size[0] for c in convolutions] == [5, 5, 3, 3, 3]
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert len(linear) == 3
    assert not any(layer.bias.any() for layer in linear)
    assert linear[-1] is classification_head(network)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "num_classes"), [(1, 10), (3, 100)])
def test_evaluation_is_repeatable_and_takes_each_image_alone(name: str, channels: int, num_classes: int) -> None:
    network, images = seeded(name, num_classes, channels), random_images(4, channels)
    assert not torch.equal(network(images), network(images))
    network.eval()
    with torch.no_grad():
        logits = network(images)
        assert logits.shape == (4, num_classes)
        assert torch.equal(network(images), logits)
        alone = torch.cat([network(image[None]) for image in images])
    assert_close(alone, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("image_size", [28, 34, 64])
def test_other_sizes_than_32_are_refused(image_size: int) -> None:
    with pytest.raises(InputError, match=f"AlexNet takes images of 32x32 pixels, not {image_size}x{image_size}"):
        build_classifier("alexnet", 10, image_size=image_size)
    with pytest.raises(InputError, match=f"AlexNet takes images of 32x32 pixels, not {image_size}x{image_size}"):
        build_classifier("alexnet_half", 10)(torch.zeros(2, 3, image_size, image_size))


def test_synchronised_batch_norm_keeps_settings() -> None:
    network = seeded("alexnet")
    names = list(network.state_dict())
    synchronise_batch_norm(network, "cpu")
    assert list(network.state_dict()) == names
    assert not any(isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) for layer in network.modules())
    layers = [layer for layer in network.modules() if isinstance(layer, AllReduceBatchNorm)]
    assert [(layer.eps, layer.momentum) for layer in layers] == [(1e-3, 0.1)] * 7


def train_once(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Logits and statistics of a training pass without dropout, whose draws depend on the batch's shape."""
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    logits = network.double()(images.double())
    return {"logits": logits.detach()} | dict(network.named_buffers())


def write_results(rank: int, folder: Path) -> None:
    network = synchronise_batch_norm(seeded("alexnet_half"), "cpu")
    torch.save(train_once(network, random_images(6).chunk(2)[rank]), rank_file(folder, rank))


def test_two_processes_equal_one_on_the_whole_batch(tmp_path: Path) -> None:
    run_on_two_processes(write_results, tmp_path)
    expected = train_once(seeded("alexnet_half"), random_images(6))
    ranks = [torch.load(rank_file(tmp_path, rank), weights_only=True) for rank in (0, 1)]
    assert_close(torch.cat([rank.pop("logits") for rank in ranks]), expected.pop("logits"))
    for rank in ranks:
        assert_close(rank, expected)
