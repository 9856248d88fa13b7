"""Small attacks and a stand-in for the trainer, where a test needs no training."""

import inspect
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim import SGD

from lightning_extract.attacks import DataFreeAttack, DisGUIDE
from lightning_extract.attacks.settings import CloneTraining, ReplaySettings, Schedule
from lightning_extract.attacks.threat_model import ThreatModel

AnyAttack = TypeVar("AnyAttack", bound=DataFreeAttack)


class NoiseAttack(DataFreeAttack):
    """The simplest attack: no generator, uniform noise as queries."""

    def make_queries(self, count: int) -> Tensor:
        return self.draws.uniform(count, *self.threat_model.image_shape)


def threat_model(query_budget: int = 1000, **others: Any) -> ThreatModel:
    """A shipped victim of grey 32 x 32 digits."""
    values: dict[str, Any] = {"victim": "lenet5_mnist5k", "num_classes": 10, "channels": 1}
    values |= others
    return ThreatModel(query_budget=query_budget, **values)


def noise_attack(query_budget: int = 1000, batch_size: int = 64, **others: Any) -> NoiseAttack:
    """The simplest attack, with the smallest clones; ``others`` go to the attack or to its threat model."""
    mine: dict[str, Any] = {
        "clone_training": CloneTraining(network="lenet5_half"),
        "replay": ReplaySettings(),
        "schedule": Schedule(),
    }
    mine |= {name: others.pop(name) for name in mine if name in others}
    return NoiseAttack(
        threat_model(query_budget, **others),
        batch_size=batch_size,
        clone_optimizer=lambda parameters: SGD(parameters, lr=0.03),
        accuracy_goals=(),
        **mine,
    )


def small_attack(attack: type[AnyAttack], query_budget: int = 1000, **others: Any) -> AnyAttack:
    """An attack with its published defaults but the smallest networks; ``others`` go to it or to its threat model."""
    parameters = inspect.signature(attack).parameters
    mine: dict[str, Any] = {
        "clone_training": replace(parameters["clone_training"].default, network="lenet5_half"),
        "generator_training": replace(parameters["generator_training"].default, latent_dim=8, width=2),
    }
    mine |= {name: others.pop(name) for name in parameters if name in others}
    return attack(threat_model=threat_model(query_budget, **others), **mine)


def small_disguide(query_budget: int = 1000, batch_size: int = 64, **others: Any) -> DisGUIDE:
    """DisGUIDE with the smallest networks, for gray images."""
    return small_attack(DisGUIDE, query_budget, batch_size=batch_size, **{"grayscale_fraction": 0.0} | others)


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
