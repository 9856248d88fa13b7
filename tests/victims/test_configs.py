from pathlib import Path

import pytest
import yaml
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

from lightning_extract.data.image_data import ImageData
from lightning_extract.victims.loading import load_victim
from lightning_extract.victims.training import VictimTraining

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("victim_*.yaml"))
CIFAR_TRAINING_IMAGES = 50_000


def test_there_is_one_for_every_victim_of_the_experiments():
    assert len(CONFIGS) == 16


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_makes_a_victim_for_its_data(path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["lightning-extract"])
    cli = LightningCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        seed_everything_default=False,
        run=False,
        args=["--config", str(path), "--trainer.accelerator", "cpu", "--trainer.logger", "false"],
    )
    victim, data = cli.model, cli.datamodule
    assert isinstance(victim, VictimTraining)
    assert isinstance(data, ImageData)
    assert path.stem == f"victim_{victim.network_name}_{data.dataset}"
    assert victim.victim_dir == Path("victims") / f"{victim.network_name}_{data.dataset}"
    for name in ("num_classes", "channels", "image_size"):
        assert getattr(victim, name) == getattr(data, name)
    victim.trainer = cli.trainer
    configured = victim.configure_optimizers()
    scheduler = configured["lr_scheduler"]["scheduler"]
    if configured["lr_scheduler"]["interval"] == "step":
        assert data.dataset == "cifar10"
        assert scheduler.total_steps == cli.trainer.max_epochs * (CIFAR_TRAINING_IMAGES // data.batch_size)


def test_shipped_victim_is_the_one_of_its_config():
    (path,) = (path for path in CONFIGS if path.stem == "victim_lenet5_mnist5k")
    config = yaml.safe_load(path.read_text())
    card = load_victim("lenet5_mnist5k")[1]
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    assert (list(card.mean), list(card.std)) == (model["mean"], model["std"])
    assert card.dataset == data["dataset"]
    wanted = {
        "epochs": config["trainer"]["max_epochs"],
        "batch_size": data["batch_size"],
        "seed": config["seed_everything"],
        "crop_padding": model["crop_padding"],
        "horizontal_flip": model["horizontal_flip"],
    }
    assert {name: card.recipe[name] for name in wanted} == wanted
    assert card.recipe["optimizer"].items() >= model["optimizer"]["init_args"].items()
    assert card.recipe["lr_scheduler"].items() >= model["lr_scheduler"]["init_args"].items()
