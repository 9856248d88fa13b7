import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_extract.data.datasets import load_images
from lightning_extract.errors import InputError
from lightning_extract.networks import build_classifier
from lightning_extract.victims.accuracy import measure_accuracy
from lightning_extract.victims.loading import describe_missing_victim, load_victim, shipped_victims
from lightning_extract.victims.normalise import Normalise
from lightning_extract.victims.saving import save_victim


@pytest.fixture
def victim(tmp_path):
    """A folder with an untrained victim."""
    torch.manual_seed(0)
    folder = tmp_path / "victims" / "lenet5_half_mnist5k"
    save(folder, build_classifier("lenet5_half", 10, 1))
    return folder


def save(folder, network):
    return save_victim(
        folder,
        network,
        network="lenet5_half",
        num_classes=10,
        channels=1,
        image_size=32,
        dataset="mnist5k",
        mean=(0.1,),
        std=(0.3,),
        test_accuracy=None,
        recipe={},
    )


def edit_card(folder, **change):
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def edit_weights(folder, change):
    """Changes tensors and makes the card's hash fit."""
    path = folder / "victim.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    edit_card(folder, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_saved_network_comes_back_frozen(tmp_path):
    network = build_classifier("lenet5_half", 10, 1).to(memory_format=torch.channels_last)
    written = save(tmp_path, network)
    loaded, card = load_victim(tmp_path)
    assert card == written
    images = torch.rand(4, 1, 32, 32)
    assert torch.allclose(loaded(images), network.eval()(images), atol=1e-6)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.json", "victim.safetensors"]


@pytest.mark.parametrize("name", shipped_victims())
def test_shipped_victim_has_the_accuracy_on_its_card(name):
    network, card = load_victim(name)
    test_set = load_images(card.dataset, "test", image_size=card.image_size, channels=card.channels)
    accuracy = measure_accuracy(network, Normalise(card.mean, card.std), test_set, torch.device("cpu"))
    assert accuracy == pytest.approx(card.test_accuracy, abs=0.002)  # 2 of 1,000 images may tip on another processor


def test_lenet5_is_shipped_with_97_percent():
    assert load_victim("lenet5_mnist5k")[1].test_accuracy >= 0.97


def test_accuracy_by_hand():
    class Brightest(torch.nn.Module):
        def forward(self, images):
            return images.flatten(1)

    test_set = load_images("mnist5k", "test")
    labels = (test_set.images.flatten(1).float() / 255).argmax(1)
    expected = float((labels == test_set.labels).float().mean())
    measured = measure_accuracy(Brightest(), Normalise((0.5,), (0.2,)), test_set, torch.device("cpu"), batch_size=300)
    assert measured == pytest.approx(expected)


def test_missing_victim_says_how_to_get_one(tmp_path, victim):
    assert describe_missing_victim("lenet5_mnist5k") is None
    assert describe_missing_victim(victim) is None
    missing = describe_missing_victim("victims/resnet34_8x_cifar10")
    assert "lightning-extract fit --config configs/victim_resnet34_8x_cifar10.yaml" in missing
    assert "import-victim" in missing
    assert "lenet5_mnist5k" in missing
    with pytest.raises(InputError, match=r"neither shipped .* nor a folder with victim.safetensors and card.json"):
        load_victim(tmp_path / "nowhere")
    (victim / "card.json").unlink()
    with pytest.raises(InputError, match=r"a folder with card.json: train"):
        load_victim(victim)


def test_changed_weights_are_refused(victim):
    path = victim / "victim.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"has sha256 .* its card says .* changed or damaged"):
        load_victim(victim)


def test_damaged_file_with_a_fitting_hash(victim):
    (victim / "victim.safetensors").write_bytes(b"nothing")
    edit_card(victim, weights_sha256=hashlib.sha256(b"nothing").hexdigest())
    with pytest.raises(InputError, match="is no safetensors file"):
        load_victim(victim)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "lenet6"}, "lenet6"),
        ({"network": "lenet5"}, "does not hold a lenet5 with 10 classes"),
        ({"network": "resnet18_8x"}, r"it lacks \d+ tensors"),
        ({"num_classes": 7}, r"shape \(10.*expected \(7.*check network, num_classes"),
        ({"num_classes": 1}, "num_classes is 1"),
    ],
)
def test_card_that_does_not_fit_the_weights(victim, change, message):
    edit_card(victim, **change)
    with pytest.raises(InputError, match=message):
        load_victim(victim)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(victim, value):
    def poison(tensors):
        tensors[min(tensors)].view(-1)[0] = value

    edit_weights(victim, poison)
    with pytest.raises(InputError, match="is not finite"):
        load_victim(victim)
    network = build_classifier("lenet5_half", 10, 1)
    torch.nn.init.constant_(next(network.parameters()), value)
    with pytest.raises(InputError, match="is not finite"):
        save(victim.parent / "other", network)
    assert not (victim.parent / "other").exists()


def test_tensor_that_is_missing(victim):
    edit_weights(victim, lambda tensors: tensors.pop(min(tensors)))
    with pytest.raises(InputError, match="it lacks 1 tensors"):
        load_victim(victim)
