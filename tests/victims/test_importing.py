import os
import warnings

import pytest
import torch
from safetensors.torch import save_file

from lightning_extract.errors import InputError
from lightning_extract.networks import build_classifier
from lightning_extract.victims.importing import import_victim, read_weights
from lightning_extract.victims.loading import load_victim

MNIST5K = {"network": "lenet5", "dataset": "mnist5k", "num_classes": 10, "channels": 1}


@pytest.fixture
def trained():
    """Weights of the shipped LeNet-5, as a foreign file would hold them."""
    network, card = load_victim("lenet5_mnist5k")
    return network.state_dict(), card


def write(folder, tensors, kind):
    path = folder / ("foreign.safetensors" if kind == "safetensors" else "foreign.pt")
    if kind == "safetensors":
        save_file(tensors, path)
    elif kind == "plain":
        torch.save(tensors, path)
    elif kind == "nested":
        torch.save({"epoch": 3, "state_dict": tensors}, path)
    else:
        torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, path)
    return path


@pytest.mark.parametrize("kind", ["plain", "safetensors", "nested", "parallel"])
def test_accuracy_is_measured_where_the_data_are(tmp_path, trained, kind):
    tensors, shipped = trained
    path = write(tmp_path, tensors, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import_victim(path, **MNIST5K, out=tmp_path / "out", mean=list(shipped.mean), std=list(shipped.std))
    network, card = load_victim(tmp_path / "out")
    assert card.test_accuracy == pytest.approx(shipped.test_accuracy, abs=0.002)
    assert card.recipe["accuracy_measured"]
    assert card.weights_sha256 == shipped.weights_sha256
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in network.state_dict().items())


def test_wrong_normalisation_is_noticed(tmp_path, trained):
    tensors, shipped = trained
    path = write(tmp_path, tensors, "plain")
    with pytest.warns(UserWarning, match=r"stated as 0.9.*check mean and std"):
        import_victim(path, **MNIST5K, out=tmp_path / "out", mean=[3.0], std=[0.3], test_accuracy=shipped.test_accuracy)


@pytest.mark.parametrize("stated", [0.9554, None])
def test_without_data_the_stated_accuracy_or_none_is_recorded(tmp_path, stated):
    path = write(tmp_path, build_classifier("cnn_2_1", 10).state_dict(), "plain")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import_victim(
            path, "cnn_2_1", "cifar10", tmp_path / "out", [0.5] * 3, [0.5] * 3, 10,
            root=str(tmp_path), test_accuracy=stated,
        )  # fmt: skip
    card = load_victim(tmp_path / "out")[1]
    assert card.test_accuracy == stated
    assert not card.recipe["accuracy_measured"]
    assert [("records no test accuracy" in str(warning.message)) for warning in caught] == [True] * (stated is None)


def test_a_victim_is_not_replaced(tmp_path, trained):
    tensors, card = trained
    path = write(tmp_path, tensors, "plain")
    import_victim(path, **MNIST5K, out=tmp_path / "out", mean=list(card.mean), std=list(card.std))
    with pytest.raises(InputError, match="holds a victim already"):
        import_victim(path, **MNIST5K, out=tmp_path / "out", mean=list(card.mean), std=list(card.std))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "lenet5_half"}, "does not hold a lenet5_half with 10 classes"),
        ({"network": "vgg"}, "vgg"),
        ({"num_classes": 100}, r"has shape \(10"),
        ({"mean": [0.1, 0.2]}, "one number a channel"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, trained, change, message):
    path = write(tmp_path, trained[0], "plain")
    arguments = {**MNIST5K, "out": tmp_path / "out", "mean": [0.1], "std": [0.3]} | change
    with pytest.raises(InputError, match=message):
        import_victim(path, **arguments)
    assert not (tmp_path / "out").exists()


def test_data_with_other_classes_is_refused(tmp_path):
    path = write(tmp_path, build_classifier("lenet5", 7, 1).state_dict(), "plain")
    with pytest.raises(InputError, match="data set mnist5k has 10 classes, num_classes is 7"):
        import_victim(path, **MNIST5K | {"num_classes": 7}, out=tmp_path / "out", mean=[0.1], std=[0.3])


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("should-not-exist",)


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": RunsCode()}, "evil.pt")
    with pytest.raises(InputError, match="cannot be read as plain weights"):
        read_weights(tmp_path / "evil.pt")
    assert not (tmp_path / "should-not-exist").exists()


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_files_that_hold_no_weights(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(InputError, match="does not exist"):
        read_weights(path)
    for content in (b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as plain weights"):
            read_weights(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], torch.zeros(1)])
def test_files_that_hold_something_else(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(InputError, match="holds no state_dict of tensors"):
        read_weights(tmp_path / "x.pt")
