"""Early stopping and selection of a victim by the training images kept apart."""

import warnings

import pytest
import torch
from lightning.pytorch import Callback

from lightning_extract.data.image_data import ImageData
from lightning_extract.errors import InputError
from lightning_extract.victims.accuracy import measure_accuracy
from lightning_extract.victims.loading import load_victim
from tests.image_folders import write_image_folder
from tests.victims.test_training import fit

PATIENCE = 3


@pytest.fixture
def folder(tmp_path):
    return str(write_image_folder(tmp_path / "data", per_class=20))


class Recorder(Callback):
    """Keeps the validation accuracy and the weights of every epoch."""

    def __init__(self):
        self.accuracies, self.weights = [], []

    def on_validation_end(self, trainer, pl_module):
        if trainer.sanity_checking:
            return
        self.accuracies.append(trainer.callback_metrics["validation_accuracy"].item())
        weights = pl_module.classifier.state_dict()
        self.weights.append({name: tensor.clone() for name, tensor in weights.items()})


def select(folder, victim_dir, validation_share=0.25, **arguments):
    data = ImageData(folder, image_size=8, batch_size=10, validation_share=validation_share)
    settings = {"data": data, "max_epochs": 30, "patience": PATIENCE, "lr_scheduler": None, "dropout": 0.3}
    return fit(folder, victim_dir, **settings | arguments)


def test_best_epoch_is_written_and_training_stops(tmp_path, folder):
    seen = Recorder()
    trainer = select(folder, tmp_path / "victim", callbacks=[seen])
    best = seen.accuracies.index(max(seen.accuracies))  # the first of equal ones
    assert best < len(seen.accuracies) - 1 < 29
    assert len(seen.accuracies) == best + 1 + PATIENCE
    assert "accuracy" not in trainer.callback_metrics, "the test images are not looked at"
    network, card = load_victim(tmp_path / "victim")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, seen.weights[best][name])
    assert not torch.equal(network.state_dict()["linear.weight"], seen.weights[-1]["linear.weight"])
    assert card.recipe["selection"] == {"epoch": best, "validation_accuracy": seen.accuracies[best]}
    described = {"dropout": 0.3, "patience": PATIENCE, "validation_share": 0.25, "lr_scheduler": None, "epochs": 30}
    assert card.recipe.items() >= described.items()
    assert card.recipe["steps"] == 3 * len(seen.accuracies)
    module, data = trainer.lightning_module, trainer.datamodule
    assert card.test_accuracy == measure_accuracy(network, module.encode, data.test_set, torch.device("cpu"))
    assert {layer.p for layer in module.classifier.modules() if isinstance(layer, torch.nn.Dropout)} == {0.3}
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.05


def test_killed_and_resumed_equals_uninterrupted(tmp_path, folder):
    seen = Recorder()
    select(folder, tmp_path / "whole", checkpoints=tmp_path / "a", callbacks=[seen])
    with pytest.raises(ArithmeticError):
        # In the last epoch: the best weights come from the checkpoint.
        select(folder, tmp_path / "resumed", checkpoints=tmp_path / "b", crash_in=len(seen.accuracies) - 1)
    select(folder, tmp_path / "resumed", checkpoints=tmp_path / "b")
    cards = [load_victim(tmp_path / name)[1] for name in ("whole", "resumed")]
    assert cards[0] == cards[1]


def test_a_run_that_had_stopped_trains_no_further(tmp_path, folder):
    victim = tmp_path / "victim"
    first = select(folder, victim, checkpoints=tmp_path / "checkpoints")
    before = (victim / "card.json").read_bytes()
    (victim / "card.json").unlink()
    again = select(folder, victim, checkpoints=tmp_path / "checkpoints")
    assert again.global_step == first.global_step
    assert (victim / "card.json").read_bytes() == before
    select(folder, victim)  # what a run found out does not make it another victim
    with pytest.raises(InputError, match=r"differs in patience\)"):
        select(folder, victim, patience=2)


def test_the_test_command_evaluates_the_victim_that_was_written(tmp_path, folder, monkeypatch):
    trainer = select(folder, tmp_path / "victim")
    module, tested = trainer.lightning_module, []
    monkeypatch.setattr(
        type(module), "test_step", lambda self, *_: tested.append(self.classifier.linear.weight.clone())
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.test(module, trainer.datamodule, verbose=False)
    assert torch.equal(tested[0], load_victim(tmp_path / "victim")[0].linear.weight)


def test_without_patience_the_final_weights_are_written(tmp_path, folder):
    seen = Recorder()
    select(folder, tmp_path / "victim", patience=None, max_epochs=4, callbacks=[seen])
    network, card = load_victim(tmp_path / "victim")
    assert torch.equal(network.state_dict()["linear.weight"], seen.weights[-1]["linear.weight"])
    assert not card.recipe.keys() & {"patience", "selection"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation_share": 0.0}, "patience is 3, but no training samples are kept apart"),
        ({"patience": 0}, "patience is 0, it must be at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": 0.1, "network": "lenet5", "image_size": 32}, "has no dropout layer"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, folder, change, message):
    with pytest.raises(InputError, match=message):
        select(folder, tmp_path / "victim", **change)
