from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

from lightning_extract.data.image_data import ImageData
from lightning_extract.data.text_data import TextData
from lightning_extract.data.text_sets import text_num_classes
from lightning_extract.victims.loading import load_victim
from lightning_extract.victims.text_training import TextVictimTraining
from lightning_extract.victims.training import VictimTraining

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("victim_*.yaml"))
CIFAR_TRAINING_IMAGES = 50_000
ACTIVETHIEF = [path for path in CONFIGS if path.stem.startswith("victim_activethief_")]
OF_SMALL_RUNS = {"bc_mnist5k", "bc_fashion_mnist", "small_trec", "small_mr"}
IMAGE_NETWORKS = {"lc": "cnn_2_2", "bc": "cnn_3_2", "hc": "cnn_4_2"}  # section 5.2 and Table 5
IMAGE_SETS = {"mnist": 28, "fashion_mnist": 28, "cifar10": 32, "gtsrb": 32}
TEXT_SETS = {"mr", "imdb", "ag_news", "trec"}


def test_there_is_one_for_every_victim_of_the_experiments():
    assert {path.stem.removeprefix("victim_") for path in CONFIGS} >= OF_SMALL_RUNS
    assert len(CONFIGS) == 16 + len(ACTIVETHIEF) + len(OF_SMALL_RUNS)


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
    images = isinstance(victim, VictimTraining)
    assert isinstance(victim, VictimTraining if images else TextVictimTraining)
    assert isinstance(data, ImageData if images else TextData)
    assert path.stem == f"victim_{victim.victim_dir.name}"
    assert victim.victim_dir.parent == Path("victims")
    assert path.stem.endswith(f"_{data.dataset}")
    if path not in ACTIVETHIEF and victim.best is None:
        assert path.stem == f"victim_{victim.network_name}_{data.dataset}"
    for name in ("num_classes", "channels", "image_size") if images else ():
        assert getattr(victim, name) == getattr(data, name)
    victim.trainer = cli.trainer
    configured = victim.configure_optimizers()
    if victim.best is not None:
        assert isinstance(configured, torch.optim.Adam)
        assert data.validation_share == 0.2
    elif configured["lr_scheduler"]["interval"] == "step":
        assert data.dataset == "cifar10"
        scheduler = configured["lr_scheduler"]["scheduler"]
        assert scheduler.total_steps == cli.trainer.max_epochs * (CIFAR_TRAINING_IMAGES // data.batch_size)


def test_the_victims_of_activethief_have_the_papers_recipe():
    texts = {f"victim_activethief_{dataset}" for dataset in TEXT_SETS}
    images = {f"victim_activethief_{kind}_{dataset}" for kind in IMAGE_NETWORKS for dataset in IMAGE_SETS}
    assert {path.stem for path in ACTIVETHIEF} == texts | images
    for path in ACTIVETHIEF:
        config = yaml.safe_load(path.read_text())
        model, data = config["model"]["init_args"], config["data"]["init_args"]
        assert config["trainer"]["max_epochs"] == 1000
        assert model["optimizer"]["init_args"] == {"lr": 1e-3, "weight_decay": 1e-3}
        assert model["dropout"] == (0.2 if data["dataset"] == "cifar10" else 0.1)
        assert data["validation_share"] == 0.2
        if path.stem in texts:
            assert (data["batch_size"], model["patience"], model["embedding_dim"]) == (50, 20, 300)
            assert text_num_classes(data["dataset"]) == model["num_classes"]
            continue
        kind = path.stem.split("_")[2]
        assert (data["batch_size"], model["patience"], model["lr_scheduler"]) == (150, 100, None)
        assert (model["network"], model["image_size"]) == (IMAGE_NETWORKS[kind], IMAGE_SETS[data["dataset"]])
        assert (set(model["mean"]), set(model["std"])) == ({0.0}, {1.0})  # pixels in [0, 1] as they are
        assert not model["crop_padding"]
        assert not model["horizontal_flip"]


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
