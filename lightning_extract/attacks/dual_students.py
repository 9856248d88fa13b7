"""Dual Students: a generator guided by the disagreement of students' logits."""

from collections.abc import Sequence
from typing import Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.optim import SGD, Adam

from lightning_extract.attacks.class_discovery import copy_outputs
from lightning_extract.attacks.data_free import DataFreeAttack
from lightning_extract.attacks.settings import (
    NO_REPLAY,
    CloneTraining,
    GeneratorTraining,
    ReplaySettings,
    Schedule,
    WeightAveraging,
)
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.data.draws import Iteration
from lightning_extract.errors import InputError
from lightning_extract.functional.losses import pairwise_disagreement_loss
from lightning_extract.networks import CloneEnsemble, MovingAverage


class DualStudents(DataFreeAttack):
    """Data-free extraction in which the generator seeks samples that the students disagree on.

    One student stands in for the victim in the other's objective, so that the generator needs no answers, and
    soft and hard access differ in the students' loss only. With hard access the number of classes may be unknown.

    Reference:
        Beetham, Kardan, Mian, Shah: Dual Student Networks for Data-Free Model Stealing, ICLR 2023.

    Queries per iteration:
        ``batch_size * clone_training.steps``: 1,280; the generator phase is free.

    Deviations:
        The extracted model is the soft vote of the students; the official code reports the averaged weights of the
        first one, which stand beside it as ``averaged``; their updates count the run's iterations, not an epoch's.
        The generator's loss sees images by default, as the paper describes; the official script's sees them before
        tanh (``generator_input``), and which of both made the published numbers is not known.
        Bought batches set aside for selection, and rates that drop at the milestone itself, as in all attacks here.
    """

    def __init__(
        self,
        threat_model: ThreatModel,
        clone_training: CloneTraining = CloneTraining(steps=5),
        generator_training: GeneratorTraining = GeneratorTraining(),
        generator_input: Literal["image", "pre_activation"] = "image",
        averaging: WeightAveraging = WeightAveraging(),
        replay: ReplaySettings = NO_REPLAY,
        schedule: Schedule = Schedule(milestones=(0.1, 0.3, 0.5)),
        batch_size: int = 256,
        clone_optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.3, momentum=0.9, weight_decay=5e-4, fused=True),
        generator_optimizer: OptimizerCallable = lambda p: Adam(p, lr=1e-4, fused=True),
        accuracy_goals: Sequence[float] = (),
    ) -> None:
        """Sets up students and generator.

        Args:
            threat_model: What the attacker may do and knows.
            clone_training: Two students or more and five batches an iteration.
            generator_training: The generator and its share of an iteration.
            generator_input: What the generator's loss is computed on: the image after tanh, or before it, as the
                official script runs it although its queries are images after tanh.
            averaging: Averaged weights of students and generator.
            replay: Experience replay of bought answers; none in the paper.
            schedule: Learning rates times 0.3 at 10, 30 and 50 % of the budget (official code).
            batch_size: Samples in a batch, over all processes; 256 in the paper.
            clone_optimizer: SGD with the official script's rate 0.3, momentum 0.9 and weight decay 5e-4.
            generator_optimizer: Adam with rate 1e-4.
            accuracy_goals: Accuracies for which the number of queries at the first reach is reported.
        """
        if clone_training.count < 2:
            raise InputError(f"clone_training.count is {clone_training.count}; disagreement needs at least 2 clones")
        self.averaging = averaging  # the base asks at once which models are evaluated
        super().__init__(
            threat_model, clone_training, replay, schedule, batch_size, clone_optimizer, accuracy_goals,
            generator_training, generator_optimizer,
        )  # fmt: skip
        self.generator_input = generator_input
        if averaging.every:
            self.averaged_clones = MovingAverage(self.clones, averaging.momentum)
        if averaging.every and averaging.generator:
            self.averaged_generator = MovingAverage(self.generator, averaging.momentum)

    def generator_loss(self, pre_activation: Tensor) -> Tensor:
        """Minus the mean difference of the students' logits."""
        images = pre_activation.tanh() if self.generator_input == "image" else pre_activation
        return pairwise_disagreement_loss(self.clone_logits(images))

    @torch.no_grad()
    def make_queries(self, count: int) -> Tensor:
        """Fresh samples by running statistics, of the averaged generator if there is one."""
        if self.averaging.every and self.averaging.generator:
            return self.averaged_generator.eval()(self.latents(count))  # type: ignore[no-any-return]
        return self.generate(count, batch_statistics=False)

    def observe(self, answers: Tensor) -> None:
        known = self.classes.found or 0
        super().observe(answers)
        if self.averaging.every and self.classes.found is not None:
            averages = self.averaged_clones.module
            assert isinstance(averages, CloneEnsemble)
            for student, average in zip(self.clones.members, averages.members, strict=True):
                copy_outputs(student, average, range(known, self.classes.found))  # an average begins where they do

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.averaging.every and self.start_from:
            self.averaged_clones.module.load_state_dict(self.clones.state_dict())

    def training_step(self, iteration: Iteration, batch_idx: int) -> None:
        super().training_step(iteration, batch_idx)
        every = self.averaging.every
        if every and iteration.number % every == every - 1:
            self.averaged_clones.update_parameters(self.clones)
            if self.averaging.generator:
                self.averaged_generator.update_parameters(self.generator)

    def evaluated_models(self) -> list[str]:
        """The averaged first student, which the official code reports, and the averaged students' vote besides."""
        return super().evaluated_models() + (["averaged", "averaged_vote"] if self.averaging.every else [])

    def model_probabilities(self, inputs: Tensor) -> list[Tensor]:
        models = super().model_probabilities(inputs)
        if self.averaging.every:
            logits = self.classes.visible(self.averaged_clones(inputs.to(self.dtype)))
            models += [self.vote(logits[:1]), self.vote(logits)]
        return models
