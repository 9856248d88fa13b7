"""What data-free attacks share: the iteration, the clones' training, generator, replay and schedule."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torchmetrics import MeanMetric

from lightning_extract.attacks.base import ExtractionAttack
from lightning_extract.attacks.checks import check_batches, check_stream
from lightning_extract.attacks.class_discovery import initialise_outputs
from lightning_extract.attacks.extracted_clones import load_extracted_clones
from lightning_extract.attacks.heldout_selection import HeldOutSelection
from lightning_extract.attacks.settings import CloneTraining, GeneratorTraining, ReplaySettings, Schedule
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.data.draws import Iteration, IterationDraws, seed_networks
from lightning_extract.data.replay import ReplayBuffer
from lightning_extract.errors import InputError
from lightning_extract.functional import losses
from lightning_extract.metrics import LabelHistogram
from lightning_extract.networks import DCGANGenerator, DFMEGenerator


class DataFreeAttack(ExtractionAttack):
    """An attack without data: a generator phase, a clone phase and a replay phase in every iteration.

    Args:
        threat_model: What the attacker may do and knows.
        clone_training: How the clones learn.
        replay: Experience replay.
        schedule: Learning rates over the budget.
        batch_size: Samples in a batch, over all processes.
        clone_optimizer: Optimizer of the clones.
        accuracy_goals: Accuracies for which the number of queries is reported.
        generator_training: The generator; without it the attack makes its queries otherwise.
        generator_optimizer: Its optimizer.

    Attributes:
        start_from: Runs whose clones were the start, with the queries that they had spent.
        latent_dim: Length of the generator's latent vectors; there when it has one.
    """

    generator: DFMEGenerator | DCGANGenerator
    replay_buffer: ReplayBuffer | None
    clones_train_in_generator_phase = False  # whether they normalise by the batch there, and keep its statistics

    def __init__(
        self,
        threat_model: ThreatModel,
        clone_training: CloneTraining,
        replay: ReplaySettings,
        schedule: Schedule,
        batch_size: int,
        clone_optimizer: OptimizerCallable,
        accuracy_goals: Sequence[float],
        generator_training: GeneratorTraining | None = None,
        generator_optimizer: OptimizerCallable | None = None,
    ) -> None:
        if threat_model.num_classes == "unknown" and clone_training.start_from:
            raise InputError(
                "num_classes is unknown, but clones of clone_training.start_from know it; give num_classes"
            )
        super().__init__(threat_model, clone_training, accuracy_goals)
        self.replay, self.schedule = replay, schedule
        self.batch_size, self.generator_training = batch_size, generator_training
        check_batches(batch_size, replay)
        self.new_clone_optimizer, self.new_generator_optimizer = clone_optimizer, generator_optimizer
        if generator_training is not None:
            self.latent_dim = generator_training.latent_dim
            self.generator = DFMEGenerator(
                self.latent_dim,
                generator_training.width,
                threat_model.channels,
                threat_model.image_size,
                generator_training.affine,
            ).to(memory_format=torch.channels_last)
            self.generator_loss_mean = MeanMetric(nan_strategy="disable")
        self.start_from: list[dict[str, Any]] = []
        self.heldout, self.replay_buffer = HeldOutSelection(), None
        self.query_labels = LabelHistogram(self.outputs)

    @property
    def generator_queries(self) -> int:
        """Answers that a generator step buys for each of its samples."""
        return 0

    @property
    def queries_per_iteration(self) -> int:
        generator_steps = 0 if self.generator_training is None else self.generator_training.steps
        return self.batch_size * (generator_steps * self.generator_queries + self.clone_training.steps)

    # The algorithm.

    def training_step(self, iteration: Iteration, batch_idx: int) -> None:
        """One iteration, in the papers' order."""
        self.draws = IterationDraws(iteration.seed, self.global_rank, self.trainer.world_size, self.device)
        seed_networks(iteration.seed + self.global_rank, self.device)
        if self.generator_training is not None and self.classes.found != 0:
            self.generator_phase(self.generator_training.steps)
        self.clone_phase(iteration.number)
        self.replay_phase()
        self.iterations_done = iteration.number + 1
        for scheduler in self.schedulers:
            scheduler.step()

    def generator_phase(self, steps: int) -> None:
        """Trains the generator on what ``generator_loss`` says of fresh images."""
        self.generator.train()
        self.clones.train(self.clones_train_in_generator_phase)
        optimizer = self.optimizer_list[1]
        for _ in range(steps):
            count = self.affordable(self.batch_size, self.generator_queries)
            if count == 0:
                return
            with self.toggled_optimizer(optimizer):
                loss = self.generator_loss(self.generator.pre_activation(self.latents(count)))
                self.update(optimizer, loss)
            self.generator_loss_mean.update(loss.detach())

    def generator_loss(self, pre_activation: Tensor) -> Tensor:
        """What the generator minimises.

        Args:
            pre_activation: The process's share of a batch of images before tanh.

        Shape:
            ``(B, C, H, W)`` to a scalar, with gradients to the images.
        """
        raise NotImplementedError(f"{type(self).__name__} has a generator and must say what it minimises")

    def clone_phase(self, iteration: int) -> None:
        """Buys batches and trains every clone on each of them; some iterations set their first batch aside."""
        self.clones.train()
        every, steps = self.clone_training.heldout_every, self.clone_training.steps
        for step in range(steps):
            bought = self.buy_batch(step)
            if bought is None:
                return
            samples, answers = bought
            self.observe(answers)
            if every and step == 0 and iteration % every == every - 1:
                aside, their_answers = self.gather(samples, answers)
                self.heldout.answers.add(aside, their_answers, self.draws.python)
                continue
            self.imitate(samples, answers)
            if self.replay_buffer is not None and (self.replay.stored == "all" or step == steps - 1):
                self.replay_buffer.add(*self.gather(samples, answers))

    def buy_batch(self, step: int) -> tuple[Tensor, Tensor] | None:
        """The process's share of the clone phase's next batch with the victim's answers; nothing when broke."""
        count = self.affordable(self.batch_size)
        if count == 0:
            return None
        samples = self.make_queries(count)
        return samples, self.oracle.query(samples, "clone")

    def replay_phase(self) -> None:
        """Trains every clone on batches drawn from the replay; free of queries."""
        if self.replay_buffer is None or not len(self.replay_buffer):
            return
        self.clones.train()
        count = min(self.batch_size, len(self.replay_buffer) // self.trainer.world_size * self.trainer.world_size)
        for _ in range(self.replay.batches):
            positions = self.draws.share(self.replay_buffer.draw(count, self.draws.python))
            self.imitate(*self.replay_buffer.read(positions, self.device))

    def distance(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Distance of clones and victim, a number a sample: logits ``(S, B, K)``, answers ``(B, K)`` to ``(S, B)``."""
        return (losses.kl_distance if self.clone_training.soft_loss == "kl" else losses.logit_distance)(logits, answers)

    # Samples and answers.

    def latents(self, count: int) -> Tensor:
        """The process's share of ``count`` latent vectors."""
        return self.draws.normal(count, self.latent_dim).to(self.dtype)

    @abstractmethod
    def make_queries(self, count: int) -> Tensor:
        """The process's share of a batch of ``count`` samples for the victim, ``(B, C, H, W)`` in [-1, 1]."""

    @torch.no_grad()
    def generate(self, count: int, batch_statistics: bool) -> Tensor:
        """The process's share of ``count`` images, normalised by their batch or by running statistics."""
        self.generator.train(batch_statistics)
        return self.generator(self.latents(count))  # type: ignore[no-any-return]

    def observe(self, answers: Tensor) -> None:
        """Looks at bought answers: finds new classes when their number is unknown, and counts the labels."""
        labels = answers if answers.ndim == 1 else answers.argmax(dim=1)
        if self.classes.unknown:
            new = self.classes.observe(self.gather(labels)[0], self.ledger.spent)
            for clone in self.clones.members if new else ():
                seed = self.draws.python.getrandbits(63)
                initialise_outputs(clone, new, seed, self.optimizer_list[0].optimizer)
        self.query_labels.update(self.classes.outputs_of(labels))

    # Set-up and optimizers.

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.clone_training.channels_last:
            self.clones.to(memory_format=torch.channels_last)
        if stage == "fit":
            if self.clone_training.compile:
                self.clones.compile()
            check_stream(self.trainer, self.generator_training is not None, self.batch_size)
            if self.replay.batches:
                self.replay_buffer = ReplayBuffer(
                    size=min(self.replay.size, self.ledger.budget),
                    image_shape=self.threat_model.image_shape,
                    answer_shape=(self.num_classes,) if self.threat_model.access == "soft" else (),
                    dtype=self.replay.dtype,
                    device="cpu" if self.replay.device == "cpu" else self.trainer.strategy.root_device,
                )

    def on_fit_start(self) -> None:
        if self.trainer.ckpt_path is None:  # setup is not told whether the run continues
            own = {"input_space": self.threat_model.input_space, "victim": self.victim_card.weights_sha256}
            self.start_from = load_extracted_clones(self.clone_training.start_from, self.clones, own)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """The clones' optimizer, then the generator's; rates follow the share of the attack that is done."""
        try:
            optimizers = [self.new_clone_optimizer(self.clones.parameters())]
            if self.new_generator_optimizer is not None:
                optimizers.append(self.new_generator_optimizer(self.generator.parameters()))
        except (TypeError, ValueError) as error:
            raise InputError(f"an optimizer of the config cannot be made: {error}") from error
        return optimizers, [LambdaLR(o, lambda _: self.schedule.rate(self.progress)) for o in optimizers]

    # Evaluation and checkpoints.

    def training_row(self) -> dict[str, Tensor]:
        row = super().training_row()
        for name in ("generator_loss", "discriminator_loss"):
            mean = getattr(self, f"{name}_mean", None)
            if mean is not None and mean.update_called:  # else nothing was learnt since the last evaluation
                row[name] = mean.compute()
                mean.reset()
        if self.query_labels.update_called:
            row |= self.query_labels.compute()
            self.query_labels.reset()
        if self.classes.found is not None:
            row["classes_found"] = torch.tensor(float(self.classes.found))
        if self.heldout.answers.batches:
            row |= self.heldout.select(self.clones, lambda x: self.vote(x).argmax(dim=1), self.classes.found)
        return row

    @property
    def replay_folder(self) -> Path:
        """Where checkpoints keep the replay's segments."""
        return Path(self.trainer.default_root_dir) / "replay"

    def attack_state(self) -> dict[str, Any]:
        state = super().attack_state() | self.heldout.state_dict() | {"start_from": self.start_from}
        if self.replay_buffer is not None:
            state["replayed_samples"] = self.replay_buffer.added
            if self.global_rank == 0:
                self.replay_buffer.save(self.replay_folder)
        return state

    def load_attack_state(self, state: dict[str, Any]) -> None:
        super().load_attack_state(state)
        self.heldout.load_state_dict(state, self.trainer.strategy.root_device)
        self.start_from = state["start_from"]
        if self.replay_buffer is not None and not self.finished:
            self.replay_buffer.load(self.replay_folder, state["replayed_samples"])
