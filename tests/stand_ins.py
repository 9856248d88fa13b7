"""Small attacks and a stand-in for the trainer, where a test needs no training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from lightning_extract.attacks import DisGUIDE, UniformNoise
from lightning_extract.attacks.settings import CloneTraining, GeneratorTraining
from lightning_extract.attacks.threat_model import ThreatModel


def threat_model(query_budget: int = 1000, **others: Any) -> ThreatModel:
    """A shipped victim of grey 32 x 32 digits."""
    values: dict[str, Any] = {"victim": "lenet5_mnist5k", "num_classes": 10, "channels": 1}
    values |= others
    return ThreatModel(query_budget=query_budget, **values)


def noise_attack(query_budget: int = 1000, batch_size: int = 64, **others: Any) -> UniformNoise:
    """The simplest attack, with the smallest clones; ``others`` go to the attack or to its threat model."""
    mine: dict[str, Any] = {
        name: others.pop(name) for name in ("clone_training", "replay", "schedule") if name in others
    }
    mine.setdefault("clone_training", CloneTraining(network="lenet5_half"))
    return UniformNoise(threat_model(query_budget, **others), batch_size=batch_size, **mine)


def small_disguide(query_budget: int = 1000, batch_size: int = 64, **others: Any) -> DisGUIDE:
    """DisGUIDE with the smallest networks; ``others`` go to the attack or to its threat model."""
    names = ("clone_training", "replay", "schedule", "diversity_weight", "grayscale_fraction")
    mine: dict[str, Any] = {"clone_training": CloneTraining(network="lenet5_half"), "grayscale_fraction": 0.0}
    mine |= {name: others.pop(name) for name in names if name in others}
    generator = GeneratorTraining(latent_dim=8, width=2)
    model = threat_model(query_budget, **others)
    return DisGUIDE(model, generator_training=generator, batch_size=batch_size, **mine)


def stand_in_trainer(**values: Any) -> Any:
    """What callbacks and attacks read of a trainer that fits."""
    defaults = {
        "state": SimpleNamespace(fn="fit"),
        "sanity_checking": False,
        "should_stop": False,
        "world_size": 1,
        "global_rank": 0,
        "is_global_zero": True,
        "precision": "32-true",
        "callback_metrics": {},
        "strategy": SimpleNamespace(reduce=lambda tensor, reduce_op: tensor, root_device=torch.device("cpu")),
        "default_root_dir": str(Path.cwd()),
    }
    return SimpleNamespace(**defaults | values)
