"""Uniform noise: the baseline that any generator must beat."""

from collections.abc import Sequence

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.optim import SGD

from lightning_extract.attacks.data_free import DataFreeAttack
from lightning_extract.attacks.settings import CloneTraining, ReplaySettings, Schedule
from lightning_extract.attacks.threat_model import ThreatModel


class UniformNoise(DataFreeAttack):
    """Extraction with queries of independent uniform pixels.

    Everything but the queries is as in the data-free attacks: the same clones, loss, replay and schedule.

    Reference:
        Tramer et al., Stealing Machine Learning Models via Prediction APIs, USENIX Security 2016; used as a baseline
        by Pal et al., ActiveThief, and Kariyappa et al., MAZE.

    Queries per iteration:
        ``batch_size * clone_training.steps``.
    """

    def __init__(
        self,
        threat_model: ThreatModel,
        clone_training: CloneTraining = CloneTraining(),
        replay: ReplaySettings = ReplaySettings(),
        schedule: Schedule = Schedule(),
        batch_size: int = 256,
        clone_optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.03, momentum=0.9, weight_decay=5e-4, fused=True),
        accuracy_goals: Sequence[float] = (),
    ) -> None:
        """Sets up the clones.

        Args:
            threat_model: What the attacker may do and knows.
            clone_training: How the clones learn from bought answers.
            replay: Experience replay of bought answers.
            schedule: Learning rates of the clones over the budget.
            batch_size: Samples in a batch, over all processes; 256 as in the attacks it is compared with.
            clone_optimizer: Optimizer of the clones; DisGUIDE's, for a fair comparison.
            accuracy_goals: Accuracies for which the number of queries at the first reach is reported.
        """
        super().__init__(threat_model, clone_training, replay, schedule, batch_size, clone_optimizer, accuracy_goals)

    def generator_phase(self) -> None:
        """Nothing to train."""

    @torch.no_grad()
    def make_queries(self, count: int) -> Tensor:
        return self.draws.uniform(count, *self.threat_model.image_shape)
