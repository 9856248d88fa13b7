"""DFME: a generator guided by forward differences of the victim's answers."""

from collections.abc import Sequence
from typing import Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.optim import SGD, Adam

from lightning_extract.attacks.checks import check_zeroth_order
from lightning_extract.attacks.data_free import DataFreeAttack
from lightning_extract.attacks.settings import (
    NO_REPLAY,
    CloneTraining,
    ForwardDifferences,
    GeneratorTraining,
    ReplaySettings,
    Schedule,
)
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.errors import InputError
from lightning_extract.functional.gradient_estimation import distance_to_black_box
from lightning_extract.functional.precision import full_float32


class DFME(DataFreeAttack):
    """Data-free extraction in which the generator seeks samples that clone and victim answer differently.

    The victim's gradient is estimated from its answers, which must be probabilities.

    Reference:
        Truong, Maini, Walls, Papernot: Data-Free Model Extraction, CVPR 2021, algorithm 1.

    Queries per iteration:
        ``batch_size * (generator_training.steps * (differences.directions + 1) + clone_training.steps)``: 1,792.

    Deviations:
        The estimate is the gradient of the batch mean; the official code divides its l1 form by the number of classes
        once more and sums its KL form over the batch, to which the generator's Adam is nearly blind.
        Bought batches set aside for selection, and rates that drop at the milestone itself, as in all attacks here.
    """

    def __init__(
        self,
        threat_model: ThreatModel,
        clone_training: CloneTraining = CloneTraining(count=1, steps=5),
        generator_training: GeneratorTraining = GeneratorTraining(),
        differences: ForwardDifferences = ForwardDifferences(),
        clone_gradient: Literal["estimated", "exact"] = "estimated",
        replay: ReplaySettings = NO_REPLAY,
        schedule: Schedule = Schedule(milestones=(0.1, 0.3, 0.5)),
        batch_size: int = 256,
        clone_optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True),
        generator_optimizer: OptimizerCallable = lambda p: Adam(p, lr=1e-4, fused=True),
        accuracy_goals: Sequence[float] = (),
    ) -> None:
        """Sets up clone and generator.

        Args:
            threat_model: What the attacker may do and knows.
            clone_training: One clone and five batches an iteration (section 5); its soft_loss, l1 or kl, is also what
                the generator maximises.
            generator_training: The generator and its share of an iteration.
            differences: The forward differences: one direction, epsilon 1e-3 (section 5).
            clone_gradient: Whether the clone's share of the generator's gradient is estimated with the victim's, as
                in the paper, or taken exactly by back-propagation; exact helps only while clone and victim differ,
                since close shares cancel before they are estimated and not after.
            replay: Experience replay of bought answers; none in the paper.
            schedule: Learning rates times 0.3 at 10, 30 and 50 % of the budget (official code; SVHN: 50 and 80 %).
            batch_size: Samples in a batch, over all processes; 256 in the paper.
            clone_optimizer: SGD with rate 0.1 and weight decay 5e-4 (section 5); momentum 0.9 is the code's.
            generator_optimizer: Adam; 1e-4 is the corrected rate of the official CIFAR-10 script (SVHN: 5e-5).
            accuracy_goals: Accuracies for which the number of queries at the first reach is reported.
        """
        check_zeroth_order("DFME", threat_model, clone_training)
        if clone_training.soft_loss == "cross_entropy":
            raise InputError("DFME maximises a distance between clone and victim; set soft_loss to l1 or kl")
        super().__init__(
            threat_model, clone_training, replay, schedule, batch_size, clone_optimizer, accuracy_goals,
            generator_training, generator_optimizer,
        )  # fmt: skip
        self.differences, self.clone_gradient = differences, clone_gradient

    @property
    def generator_queries(self) -> int:
        return self.differences.directions + 1

    def generator_loss(self, pre_activation: Tensor) -> Tensor:
        """Minus the distance of clone and victim; its gradient is estimated from ``directions + 1`` answers a sample.

        The differences are taken before tanh, in full float32 whatever the precision of the run.
        """
        with full_float32(self.device.type):
            return -distance_to_black_box(
                images=pre_activation.to(torch.promote_types(pre_activation.dtype, torch.float32)),
                clone=lambda x: self.clone_logits(x.tanh()),
                victim=lambda x: self.oracle.query(x.tanh(), "generator"),
                distance=self.distance,
                directions=self.draws.directions(self.differences.directions, pre_activation.shape),
                epsilon=self.differences.epsilon,
                exact_clone=self.clone_gradient == "exact",
            )

    def make_queries(self, count: int) -> Tensor:
        """Fresh samples by batch statistics: the official code never switches to running ones."""
        return self.generate(count, batch_statistics=True)
