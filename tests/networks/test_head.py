import pytest
import torch
from torch import nn

from lightning_extract.errors import InputError
from lightning_extract.networks import CLASSIFIERS, build_classifier, classification_head


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_row_of_the_head_is_one_logit(name: str) -> None:
    torch.manual_seed(0)
    image_size = 28 if name == "lenet_20_50" else 32
    network = build_classifier(name, 7, image_size=image_size).eval()
    head = classification_head(network)
    assert head.out_features == 7
    images = torch.rand(2, 3, image_size, image_size)
    with torch.no_grad():
        before = network(images)
        head.weight[4] = 0.0
        head.bias[4] = 100.0
        after = network(images)
    assert (after[:, 4] == 100).all()
    assert not (before[:, 4] == 100).any()
    others = [0, 1, 2, 3, 5, 6]
    assert torch.equal(after[:, others], before[:, others])


def test_a_lone_linear_layer_is_its_own_head() -> None:
    layer = nn.Linear(3, 2)
    assert classification_head(layer) is layer


def test_a_network_without_linear_layer_is_refused() -> None:
    with pytest.raises(InputError, match="Sequential has no linear layer"):
        classification_head(nn.Sequential(nn.Conv2d(3, 10, 1), nn.Flatten()))
