"""Runs ``lightning-extract fit`` in float64: ``python float64_fit.py ARGUMENTS...``, in one process or several.

Float32 trajectories of one and of two processes drift apart by rounding alone, so their equality is shown in float64.
"""

import sys

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from lightning_extract.attacks import threat_model
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.cli import main
from lightning_extract.victims.loading import load_victim


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


if __name__ == "__main__":
    torch.set_num_threads(1)
    threat_model.load_victim = load_float64_victim
    QueryAxis.setup = use_float64
    main(sys.argv[1:])
