import warnings

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR

from lightning_extract.data.evaluation_data import EvaluationData
from lightning_extract.data.image_data import ImageData
from lightning_extract.errors import InputError
from lightning_extract.victims.loading import load_victim
from lightning_extract.victims.training import VictimTraining
from tests.image_folders import write_image_folder

EPOCHS = 4


@pytest.fixture
def folder(tmp_path):
    return str(write_image_folder(tmp_path / "data", per_class=16))


class Crash(Callback):
    """Raises in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, 2):
            raise ArithmeticError("crash")


def fit(
    folder,
    victim_dir,
    *,
    checkpoints=None,
    seed=0,
    crash_in=None,
    data=None,
    max_epochs=EPOCHS,
    callbacks=(),
    **arguments,
):
    seed_everything(seed, verbose=False)
    settings = {
        "network": "cnn_2_1",
        "num_classes": 2,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "image_size": 8,
        "crop_padding": 1,
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
        "lr_scheduler": lambda optimizer: StepLR(optimizer, step_size=2, gamma=0.1),
    }
    module = VictimTraining(victim_dir=str(victim_dir), **settings | arguments)
    callbacks = [*callbacks, *([ModelCheckpoint(checkpoints, save_last=True)] if checkpoints else [])]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        logger=False,
        enable_checkpointing=checkpoints is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks + ([Crash(crash_in)] if crash_in is not None else []),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = data or ImageData(folder, image_size=8, batch_size=8)
        trainer.fit(module, data, ckpt_path="last" if checkpoints else None)
    return trainer


def test_victim_learns_and_is_written_with_its_recipe(tmp_path, folder):
    trainer = fit(folder, tmp_path / "victim")
    network, card = load_victim(tmp_path / "victim")
    assert card.test_accuracy == 1.0  # dark and bright images
    assert trainer.callback_metrics["accuracy"] == card.test_accuracy
    assert trainer.callback_metrics["train_loss"] < 0.2
    assert (card.network, card.dataset, card.split) == ("cnn_2_1", folder, "test")
    assert card.recipe == {
        "epochs": EPOCHS,
        "batch_size": 8,
        "crop_padding": 1,
        "horizontal_flip": True,
        "label_smoothing": 0.0,
        "precision": "32-true",
        "seed": 0,
        "optimizer": {"class": "SGD", "lr": 0.05, "momentum": 0.9, "dampening": 0, "weight_decay": 0},
        "lr_scheduler": {"class": "StepLR", "step_size": 2, "gamma": 0.1},
        "steps": 4 * EPOCHS,
    }
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0005)
    assert not network.training


def test_killed_and_resumed_equals_uninterrupted(tmp_path, folder):
    fit(folder, tmp_path / "whole", checkpoints=tmp_path / "a")
    with pytest.raises(ArithmeticError):
        fit(folder, tmp_path / "resumed", checkpoints=tmp_path / "b", crash_in=2)
    assert not (tmp_path / "resumed").exists()
    torch.rand(5)
    fit(folder, tmp_path / "resumed", checkpoints=tmp_path / "b")
    whole, resumed = (load_victim(tmp_path / name)[1] for name in ("whole", "resumed"))
    assert whole == resumed


def test_seed_and_augmentation_matter(tmp_path, folder):
    def weights(name, **arguments):
        fit(folder, tmp_path / name, max_epochs=1, **arguments)
        return load_victim(tmp_path / name)[1].weights_sha256

    first = weights("first")
    assert weights("again") == first
    others = [
        weights("seed", seed=1),
        weights("crop", crop_padding=0),
        weights("flip", horizontal_flip=False),
        weights("smoothing", label_smoothing=0.1),
    ]
    assert len({first, *others}) == 5


def test_resuming_after_the_last_epoch_writes_a_victim_that_is_missing(tmp_path, folder):
    fit(folder, tmp_path / "victim", checkpoints=tmp_path / "checkpoints")
    before = (tmp_path / "victim" / "card.json").read_bytes()
    fit(folder, tmp_path / "victim", checkpoints=tmp_path / "checkpoints")
    assert (tmp_path / "victim" / "card.json").read_bytes() == before
    (tmp_path / "victim" / "card.json").unlink()
    fit(folder, tmp_path / "victim", checkpoints=tmp_path / "checkpoints")
    assert (tmp_path / "victim" / "card.json").read_bytes() == before


def test_another_victim_is_not_overwritten(tmp_path, folder):
    fit(folder, tmp_path / "victim", max_epochs=1)
    fit(folder, tmp_path / "victim", max_epochs=1)  # the very same: harmless
    with pytest.raises(InputError, match=r"differs in label_smoothing\); .*overwrite true"):
        fit(folder, tmp_path / "victim", max_epochs=1, label_smoothing=0.1)
    fit(folder, tmp_path / "victim", max_epochs=1, label_smoothing=0.1, overwrite=True)
    assert load_victim(tmp_path / "victim")[1].recipe["label_smoothing"] == 0.1


def test_schedules_by_step_and_by_epoch(tmp_path, folder):
    trainer = fit(
        folder,
        tmp_path / "step",
        max_epochs=2,
        lr_scheduler=lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=8),
        lr_interval="step",
    )
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == 8
    recorded = load_victim(tmp_path / "step")[1].recipe["lr_scheduler"]
    assert (recorded["class"], recorded["max_lr"], recorded["total_steps"]) == ("OneCycleLR", 0.1, 8)
    trainer = fit(
        folder,
        tmp_path / "epoch",
        max_epochs=2,
        lr_scheduler=lambda optimizer: CosineAnnealingLR(optimizer, T_max=2),
    )
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0)
    assert load_victim(tmp_path / "epoch")[1].recipe["lr_scheduler"]["T_max"] == 2


def test_cosine_must_end_with_the_training(tmp_path, folder):
    with pytest.raises(InputError, match="ends after 3 epochs, the training after 4"):
        fit(folder, tmp_path / "victim", lr_scheduler=lambda optimizer: CosineAnnealingLR(optimizer, T_max=3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 10}, "num_classes is 10, that of data set .* is 2"),
        ({"channels": 1, "mean": [0.5], "std": [0.5]}, "channels is 1, that of data set .* is 3"),
        ({"image_size": 16}, "image_size is 16, that of data set .* is 8"),
        ({"mean": [0.5]}, "one number a channel"),
        ({"crop_padding": -1}, "crop_padding is -1"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"network": "vgg"}, "alexnet"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, folder, change, message):
    with pytest.raises(InputError, match=message):
        fit(folder, tmp_path / "victim", **change)


def test_other_data_modules_are_refused(tmp_path, folder):
    class Labelled(EvaluationData):
        train_dataloader = EvaluationData.val_dataloader

    with pytest.raises(InputError, match="ImageData"):
        fit(folder, tmp_path / "victim", data=Labelled(folder, image_size=8))


def test_diverged_training_writes_no_victim(tmp_path, folder):
    with pytest.raises(InputError, match="not finite; the training diverged"):
        fit(folder, tmp_path / "victim", optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e38))
    assert not (tmp_path / "victim").exists()
