"""MAZE: zeroth-order data-free extraction with experience replay."""

from collections.abc import Sequence

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.optim import SGD

from lightning_extract.attacks.checks import check_zeroth_order
from lightning_extract.attacks.data_free import DataFreeAttack
from lightning_extract.attacks.settings import (
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


class MAZE(DataFreeAttack):
    """Data-free extraction in which the generator seeks samples with a large divergence of clone and victim.

    Reference:
        Kariyappa, Prakash, Qureshi: MAZE: Data-Free Model Stealing Attack Using Zeroth-Order Gradient Estimation,
        CVPR 2021, algorithm 1, without the seed data of PD-MAZE.

    Queries per iteration:
        ``batch_size * (generator_training.steps * (differences.directions + 1) + clone_training.steps - 1)``: 1,920.
        The clone's first batch is the generator's last, answers included; the paper's formula counts it twice.

    Deviations:
        Replayed batches are drawn independently; the official code goes through a freshly shuffled buffer. Its buffer
        has no bound: replay.size must be 1/15 of the budget to keep all, 2 M of 30 M.
        Bought batches set aside for selection, as in all attacks here.
    """

    clones_train_in_generator_phase = True  # in the official code, even on the perturbed images

    def __init__(
        self,
        threat_model: ThreatModel,
        clone_training: CloneTraining = CloneTraining(network="wrn_22_2", count=1, steps=5, soft_loss="kl"),
        generator_training: GeneratorTraining = GeneratorTraining(latent_dim=100, affine=True),
        differences: ForwardDifferences = ForwardDifferences(directions=10),
        replay: ReplaySettings = ReplaySettings(batches=10, stored="last"),
        schedule: Schedule = Schedule(shape="cosine"),
        batch_size: int = 128,
        clone_optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True),
        generator_optimizer: OptimizerCallable = lambda p: SGD(p, lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=True),
        accuracy_goals: Sequence[float] = (),
    ) -> None:
        """Sets up clone and generator.

        Args:
            threat_model: What the attacker may do and knows.
            clone_training: One clone, five batches an iteration, KL divergence (section 4 and official code).
            generator_training: The generator and its share of an iteration.
            differences: The forward differences: ten directions, 1e-3 (official code).
            replay: Ten replayed batches an iteration; of an iteration the last clone batch is stored (official code).
            schedule: Learning rates over the budget, half a cosine to zero.
            batch_size: Samples in a batch, over all processes; 128 in the official code.
            clone_optimizer: SGD with rate 0.1, momentum 0.9 and weight decay 5e-4 (official code).
            generator_optimizer: SGD with rate 1e-4 (the official code's default; its example has 1e-3).
            accuracy_goals: Accuracies for which the number of queries at the first reach is reported.
        """
        check_zeroth_order("MAZE", threat_model, clone_training)
        if clone_training.soft_loss != "kl":
            raise InputError(f"clone_training.soft_loss is {clone_training.soft_loss}, but MAZE's is kl; set it so")
        super().__init__(
            threat_model, clone_training, replay, schedule, batch_size, clone_optimizer, accuracy_goals,
            generator_training, generator_optimizer,
        )  # fmt: skip
        self.differences = differences
        self.generator_batch: tuple[Tensor, Tensor] | None = None

    @property
    def generator_queries(self) -> int:
        return self.differences.directions + 1

    @property
    def queries_per_iteration(self) -> int:
        return super().queries_per_iteration - self.batch_size  # the clone's first batch is paid already

    def generator_loss(self, pre_activation: Tensor) -> Tensor:
        """Minus the divergence of clone and victim; its gradient is estimated from ``directions + 1`` answers a sample.

        The differences are taken before tanh, in full float32 whatever the precision of the run.
        """
        asked: list[tuple[Tensor, Tensor]] = []

        def victim(points: Tensor) -> Tensor:
            images = points.tanh()
            asked.append((images, self.oracle.query(images, "generator")))
            return asked[-1][1]

        with full_float32(self.device.type):
            loss = -distance_to_black_box(
                images=pre_activation.to(torch.promote_types(pre_activation.dtype, torch.float32)),
                clone=lambda x: self.clone_logits(x.tanh()),
                victim=victim,
                distance=self.distance,
                directions=self.draws.directions(self.differences.directions, pre_activation.shape),
                epsilon=self.differences.epsilon,
            )
        self.generator_batch = asked[0]
        return loss

    def make_queries(self, count: int) -> Tensor:
        """Fresh samples by batch statistics, as in the official code."""
        return self.generate(count, batch_statistics=True)

    def buy_batch(self, step: int) -> tuple[Tensor, Tensor] | None:
        """The generator's batch again for the first step, fresh ones for the others."""
        if step == 0 and self.generator_batch is not None:
            batch, self.generator_batch = self.generator_batch, None
            return batch
        return super().buy_batch(step)
