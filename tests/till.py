"""Published budgets at their full size: the real attack, account and callback, without the networks' work."""

from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from lightning_extract.attacks import DataFreeAttack
from lightning_extract.callbacks.query_budget import QueryBudget
from lightning_extract.data.draws import IterationDraws
from lightning_extract.oracle import QueryLedger
from tests.stand_ins import stand_in_trainer


class Till:
    """Stands for the oracle: charges as it does and gives one answer to all."""

    def __init__(self, ledger: QueryLedger, world_size: int) -> None:
        self.ledger, self.world_size = ledger, world_size
        self.answered = 0

    def query(self, samples: Tensor, phase: str) -> Tensor:
        self.ledger.charge(len(samples) * self.world_size, phase)
        self.answered += len(samples) * self.world_size
        return torch.full((len(samples), 2), 0.5)


def without_work(attack: DataFreeAttack, world_size: int = 1) -> Any:
    """Leaves the attack its arithmetic of queries and takes away what computes; returns its trainer."""
    stubs: Any = attack
    attack.trainer = trainer = stand_in_trainer(world_size=world_size)
    stubs.oracle = Till(attack.ledger, world_size)
    attack.draws = IterationDraws(0, 0, world_size, torch.device("cpu"))
    stubs.make_queries = lambda count: torch.empty(count // world_size, 1)
    stubs.clone_logits = lambda samples: torch.zeros(1, len(samples), 2)
    stubs.imitate = stubs.update = stubs.query_labels.update = lambda *_: None
    stubs.gather = lambda samples, answers: (samples, answers)
    stubs.toggled_optimizer = lambda optimizer: nullcontext()
    attack.clones.train = lambda mode=True: attack.clones  # type: ignore[method-assign]
    if attack.generator_training is not None:
        stubs.latents = lambda count: torch.empty(count // world_size)
        stubs.generator.pre_activation = lambda latents: torch.zeros(len(latents), 1)
        stubs.generator.train = lambda mode=True: attack.generator
    return trainer


def run_out(attack: DataFreeAttack, trainer: Any) -> int:
    """Iterates as the trainer does until the callback stops it; returns the number of iterations."""
    callback, iterations = QueryBudget(), 0
    callback.on_train_start(trainer, attack)
    with patch.object(DataFreeAttack, "optimizer_list", [None, None]):
        while not trainer.should_stop:
            if attack.generator_training is not None and attack.generator_queries:  # other generators ask for nothing
                attack.generator_phase(attack.generator_training.steps)
            attack.clone_phase(iterations)
            iterations += 1
            callback.on_train_batch_end(trainer, attack, None, None, 0)
    return iterations
