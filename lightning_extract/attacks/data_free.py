"""What data-free attacks share: the iteration, the clones' training, replay and schedule."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.func import functional_call
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torchmetrics import MeanMetric

from lightning_extract.attacks.base import ExtractionAttack
from lightning_extract.attacks.settings import CloneTraining, ReplaySettings, Schedule
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.data.draws import Iteration, IterationDraws
from lightning_extract.data.heldout import HeldOutAnswers
from lightning_extract.data.replay import ReplayBuffer
from lightning_extract.errors import InputError
from lightning_extract.functional.logits import soft_vote
from lightning_extract.functional.losses import hard_cross_entropy, recovered_logit_loss, soft_cross_entropy
from lightning_extract.metrics import LabelHistogram


class DataFreeAttack(ExtractionAttack):
    """An attack without data: a generator phase, a clone phase and a replay phase in every iteration.

    Queries per iteration:
        ``batch_size * clone_training.steps``, plus what an attack's generator phase declares.

    Args:
        threat_model: What the attacker may do and knows.
        clone_training: How the clones learn.
        replay: Experience replay.
        schedule: Learning rates over the budget.
        batch_size: Samples in a batch, over all processes.
        clone_optimizer: Optimizer of the clones.
        accuracy_goals: Accuracies for which the number of queries is reported.
    """

    def __init__(
        self,
        threat_model: ThreatModel,
        clone_training: CloneTraining,
        replay: ReplaySettings,
        schedule: Schedule,
        batch_size: int,
        clone_optimizer: OptimizerCallable,
        accuracy_goals: Sequence[float],
    ) -> None:
        super().__init__(threat_model, clone_training.network, clone_training.count, accuracy_goals)
        self.clone_training, self.replay, self.schedule = clone_training, replay, schedule
        self.batch_size = batch_size
        self.new_clone_optimizer = clone_optimizer
        self._check_settings()
        self.heldout = HeldOutAnswers()
        self.best_clones: dict[str, Tensor] = {}
        self.replay_buffer: ReplayBuffer | None = None
        self.query_labels = LabelHistogram(threat_model.num_classes)
        self.clone_loss_mean = MeanMetric(nan_strategy="disable")

    @property
    def queries_per_iteration(self) -> int:
        return self.batch_size * self.clone_training.steps

    # The algorithm.

    def training_step(self, iteration: Iteration, batch_idx: int) -> None:
        """One iteration, in the papers' order."""
        self.draws = IterationDraws(iteration.seed, self.global_rank, self.trainer.world_size, self.device)
        torch.manual_seed(iteration.seed + self.global_rank)  # for networks that draw themselves, as dropout does
        self.generator_phase()
        self.clone_phase(iteration.number)
        self.replay_phase()
        for scheduler in self.schedulers:
            scheduler.step()

    @abstractmethod
    def generator_phase(self) -> None:
        """Trains the generator, if there is one."""

    @abstractmethod
    def make_queries(self, count: int) -> Tensor:
        """The process's share of a batch of ``count`` samples for the victim, ``(B, C, H, W)``, without gradients."""

    def clone_phase(self, iteration: int) -> None:
        """Buys batches and trains every clone on each of them; some iterations set their first batch aside."""
        self.clones.train()
        every = self.clone_training.heldout_every
        for step in range(self.clone_training.steps):
            count = self.affordable(self.batch_size)
            if count == 0:
                return
            samples = self.make_queries(count)
            answers = self.oracle.query(samples, "clone")
            self.query_labels.update(answers if answers.ndim == 1 else answers.argmax(dim=1))
            if every and step == 0 and iteration % every == every - 1:
                self.heldout.add(*self.gather(samples, answers), self.draws.python)
            else:
                self.imitate(samples, answers)
                if self.replay_buffer is not None:
                    self.replay_buffer.add(*self.gather(samples, answers))

    def replay_phase(self) -> None:
        """Trains every clone on batches drawn from the replay; free of queries."""
        if self.replay_buffer is None or not len(self.replay_buffer):
            return
        self.clones.train()
        count = min(self.batch_size, len(self.replay_buffer) // self.trainer.world_size * self.trainer.world_size)
        for _ in range(self.replay.batches):
            positions = self.draws.share(self.replay_buffer.draw(count, self.draws.python))
            self.imitate(*self.replay_buffer.read(positions, self.device))

    def imitate(self, samples: Tensor, answers: Tensor) -> None:
        """One step of every clone towards the victim's answers on the same batch."""
        optimizer = self.optimizer_list[0]
        with self.toggled_optimizer(optimizer):
            loss = torch.stack([self.clone_loss(logits, answers) for logits in self.clone_logits(samples)]).sum()
            self.update(optimizer, loss)
        self.clone_loss_mean.update(loss.detach() / len(self.clones))

    def clone_loss(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Loss of one clone: logits ``(B, K)`` against probabilities ``(B, K)`` or labels ``(B,)``."""
        if self.threat_model.access == "hard":
            return hard_cross_entropy(logits, answers)
        loss = recovered_logit_loss if self.clone_training.soft_loss == "l1" else soft_cross_entropy
        return loss(logits, answers.to(torch.promote_types(logits.dtype, torch.float32)))

    @torch.no_grad()
    def gather(self, samples: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """The global batch, on every process in the same order, from the processes' shares."""
        if self.trainer.world_size == 1:
            return samples, answers
        by_process = self.all_gather(samples), self.all_gather(answers)  # each (processes, share, ...)
        return torch.cat(list(by_process[0])), torch.cat(list(by_process[1]))

    # Set-up and optimizers.

    def _check_settings(self) -> None:
        if self.batch_size < 1 or self.clone_training.steps < 1:
            raise InputError(
                f"batch_size is {self.batch_size} and clone_training.steps {self.clone_training.steps}; give at least 1"
            )
        if self.clone_training.heldout_every < 0 or self.replay.batches < 0:
            raise InputError(
                f"clone_training.heldout_every is {self.clone_training.heldout_every} and replay.batches "
                f"{self.replay.batches}; give 0 to switch one off, or more"
            )
        if self.clone_training.heldout_every == 1:
            raise InputError("heldout_every is 1, which leaves nothing to train on; give 0 (never) or at least 2")
        if self.replay.batches and self.replay.size < self.batch_size:
            raise InputError(
                f"replay.size {self.replay.size:,} is below batch_size {self.batch_size:,}; "
                "raise it or set replay.batches to 0"
            )
        if not all(0 < share < 1 for share in self.schedule.milestones):
            raise InputError(
                f"schedule.milestones are {self.schedule.milestones}; give shares of the budget between 0 and 1"
            )
        if not self.schedule.factor > 0:
            raise InputError(f"schedule.factor is {self.schedule.factor}; give a factor above 0")

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.clone_training.channels_last:
            self.clones.to(memory_format=torch.channels_last)
        if stage == "fit":
            if self.clone_training.compile:
                self.clones.compile()
            if self.batch_size % self.trainer.world_size:
                raise InputError(
                    f"batch_size {self.batch_size} does not divide over {self.trainer.world_size} processes; "
                    "choose a multiple or another number of devices"
                )
            if self.replay.batches:
                self.replay_buffer = ReplayBuffer(
                    size=min(self.replay.size, self.ledger.budget),
                    image_shape=self.threat_model.image_shape,
                    answer_shape=(self.threat_model.num_classes,) if self.threat_model.access == "soft" else (),
                    dtype=self.replay.dtype,
                    device="cpu" if self.replay.device == "cpu" else self.trainer.strategy.root_device,
                )

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """The clones' optimizer, then the generator's; rates follow the spent share of the budget."""
        try:
            optimizers = self.new_optimizers()
        except (TypeError, ValueError) as error:
            raise InputError(f"an optimizer of the config cannot be made: {error}") from error
        return optimizers, [LambdaLR(optimizer, self._learning_rate_factor) for optimizer in optimizers]

    def new_optimizers(self) -> list[Optimizer]:
        """The clones' optimizer; an attack with a generator appends its own."""
        return [self.new_clone_optimizer(self.clones.parameters())]

    def _learning_rate_factor(self, _: int) -> float:
        return self.schedule.factor ** sum(self.ledger.progress >= share for share in self.schedule.milestones)

    @property
    def schedulers(self) -> list[LRScheduler]:
        """All learning rate schedulers; Lightning returns a bare one when there is only one."""
        schedulers = self.lr_schedulers()
        return [s for s in (schedulers if isinstance(schedulers, list) else [schedulers]) if s is not None]

    @property
    def optimizer_list(self) -> list[LightningOptimizer]:
        """All optimizers, the clones' first; Lightning returns a bare one when there is only one."""
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    # Evaluation and checkpoints.

    def training_row(self) -> dict[str, Tensor]:
        row = {"clone_loss": self.clone_loss_mean.compute(), **self.query_labels.compute()}
        self.clone_loss_mean.reset()
        self.query_labels.reset()
        if self.heldout.batches:
            row |= self._select_by_heldout()
        return row

    def _select_by_heldout(self) -> dict[str, Tensor]:
        """Scores the clones on the answers set aside, and keeps their weights when none before did better.

        Those answers grow in number, so that the best so far is scored anew on today's.
        """
        today = dict(self.clones.state_dict())
        score = self._heldout_agreement(today)
        best = bool(not self.best_clones or score >= self._heldout_agreement(self.best_clones))
        if best:
            self.best_clones = {name: value.detach().clone() for name, value in today.items()}
        return {"heldout_agreement": score, "heldout_best": torch.tensor(float(best))}

    @torch.no_grad()
    def _heldout_agreement(self, weights: dict[str, Tensor]) -> Tensor:
        matches = []
        for samples, answers in self.heldout.batches:
            labels = answers if answers.ndim == 1 else answers.argmax(dim=1)
            logits = functional_call(self.clones, weights, (samples.to(self.dtype),))
            matches.append(soft_vote(logits).argmax(dim=1) == labels)
        return torch.cat(matches).float().mean()

    @property
    def replay_folder(self) -> Path:
        """Where checkpoints keep the replay's segments."""
        return Path(self.trainer.default_root_dir) / "replay"

    def attack_state(self) -> dict[str, Any]:
        state = super().attack_state() | {"heldout": self.heldout.state_dict(), "best_clones": self.best_clones}
        if self.replay_buffer is not None:
            state["replayed_samples"] = self.replay_buffer.added
            if self.global_rank == 0:
                self.replay_buffer.save(self.replay_folder)
        return state

    def load_attack_state(self, state: dict[str, Any]) -> None:
        super().load_attack_state(state)
        device = self.trainer.strategy.root_device
        self.heldout.load_state_dict(state["heldout"], device)
        self.best_clones = {name: value.to(device) for name, value in state["best_clones"].items()}
        if self.replay_buffer is not None and self.can_pay_iteration:
            self.replay_buffer.load(self.replay_folder, state["replayed_samples"])
