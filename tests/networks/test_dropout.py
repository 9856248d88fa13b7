import pytest
from torch import nn

from lightning_extract.errors import InputError
from lightning_extract.networks import TextCNN, build_classifier, set_dropout


def probabilities(network: nn.Module) -> set[float]:
    return {layer.p for layer in network.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)}


def test_every_dropout_layer_is_set() -> None:
    every = nn.Sequential(
        nn.Dropout(), nn.Sequential(nn.Dropout1d(), nn.Dropout2d(), nn.Dropout3d()), nn.AlphaDropout(),
        nn.FeatureAlphaDropout(), nn.Linear(1, 1),
    )  # fmt: skip
    for network in (every, build_classifier("cnn_3_2", 10), TextCNN(2, 10, 4)):
        set_dropout(network, 0.3)
        assert probabilities(network) == {0.3}
        set_dropout(network, 0.0)
        assert probabilities(network) == {0.0}


@pytest.mark.parametrize("probability", [-0.1, 1.0, float("nan")])
def test_impossible_probabilities(probability: float) -> None:
    with pytest.raises(InputError, match=r"dropout is .* at least 0 and below 1"):
        set_dropout(TextCNN(2, 10, 4), probability)


def test_a_network_without_dropout_is_refused() -> None:
    with pytest.raises(InputError, match=r"dropout is 0\.2, but LeNet5 has no dropout layer; set it to null"):
        set_dropout(build_classifier("lenet5", 10, 1), 0.2)
