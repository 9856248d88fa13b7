"""Runs ``lightning-extract fit`` in float64: ``python float64_fit.py ARGUMENTS...``, in one process or several.

Float32 trajectories of one and of two processes drift apart by rounding alone, so their equality is shown in float64.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from lightning_extract.attacks import threat_model
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.cli import main
from lightning_extract.data.replay import ReplayBuffer
from lightning_extract.oracle import VictimOracle
from lightning_extract.oracle.image_queries import ImageQueries
from lightning_extract.victims.loading import load_victim

SCRIPT = Path(__file__)
new_replay = ReplayBuffer.__init__


class Float64(nn.Module):
    """Computes in float64 whatever it is fed, so that the batch size does not show in the answers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.double()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.double() if images.is_floating_point() else images)
        return logits


def load_float64_victim(victim: str) -> object:
    network, card = load_victim(victim)
    return Float64(network), card


def use_float64(self: QueryAxis, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
    pl_module.double()
    for module in pl_module.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # its mask is drawn by each process for itself


# Queries and answers, float32 for every attacker, would not be rounded alike on other numbers of processes.


def encode_in_float64(self: ImageQueries, samples: Tensor) -> Tensor:
    return self._normalised(samples.double()) if self.input_space == "pre_transform" else samples.double()


def answer_in_float64(self: VictimOracle, samples: Any) -> Tensor:
    logits: Tensor = self._network(self.queries.encode(samples))
    return logits


def replay_in_float64(self: ReplayBuffer, *arguments: Any, **named: Any) -> None:
    new_replay(self, *arguments, **named)
    self._images = self._images.double()
    self._answers = self._answers.double() if self._answers.is_floating_point() else self._answers


def fit_in_float64(rank: int, arguments: list[str], answers: str | None = None) -> None:
    """Runs the command; with ``answers`` what the victim gave goes to a file, query after query.

    Args:
        rank: Of this process.
        arguments: Those of the command line.
        answers: Name of the file, to which the rank is added.
    """
    torch.set_num_threads(1)
    threat_model.load_victim = load_float64_victim
    QueryAxis.setup = use_float64  # type: ignore[method-assign]
    ImageQueries.encode = encode_in_float64  # type: ignore[method-assign]
    VictimOracle._compute = answer_in_float64  # type: ignore[method-assign]
    ReplayBuffer.__init__ = replay_in_float64  # type: ignore[method-assign]
    ReplayBuffer._unpack = lambda self, images: images  # type: ignore[method-assign]
    given: list[tuple[str, Tensor]] = []
    query = VictimOracle.query

    def query_and_note(self: VictimOracle, samples: Any, phase: str, total: int | None = None) -> Tensor:
        found = query(self, samples, phase, total)
        given.append((phase, found.clone()))
        return found

    if answers is not None:
        VictimOracle.query = query_and_note  # type: ignore[method-assign]
    main(arguments)
    if answers is not None:
        torch.save(given, f"{answers}{rank}.pt")


if __name__ == "__main__":
    fit_in_float64(int(os.environ.get("LOCAL_RANK", 0)), sys.argv[1:])
