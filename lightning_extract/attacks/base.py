"""What all extraction attacks share: the victim behind its oracle, the account, and the evaluation."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.errors import InputError
from lightning_extract.functional.logits import soft_vote
from lightning_extract.metrics import CloneQuality, QueriesToAccuracy
from lightning_extract.networks import CloneEnsemble, build_classifier
from lightning_extract.networks.batch_norm import synchronise_batch_norm
from lightning_extract.oracle import QueryLedger, VictimOracle
from lightning_extract.victims.card import VictimCard
from lightning_extract.victims.loading import describe_missing_victim, load_victim


class ExtractionAttack(LightningModule, ABC):
    """Base of all attacks: clones that learn to answer as the victim does within a query budget.

    Args:
        threat_model: What the attacker may do and knows.
        clone: Name of the clones' network.
        clone_count: Number of clones; the extracted model is their soft vote.
        accuracy_goals: Accuracies for which the number of queries is reported when they are first reached.

    Attributes:
        ledger: The account of queries.
        oracle: The victim's door; exists from ``setup`` on.
        victim_accuracy: The victim's accuracy on the evaluated data set, once measured.
        answered_at_stop: Samples that the victim had answered when the account was closed.
    """

    oracle: VictimOracle
    victim_card: VictimCard
    answered_at_stop: int | None = None

    def __init__(
        self, threat_model: ThreatModel, clone: str, clone_count: int, accuracy_goals: Sequence[float] = ()
    ) -> None:
        super().__init__()
        if not all(0 < goal <= 1 for goal in accuracy_goals):
            raise InputError(f"accuracy_goals are {list(accuracy_goals)}; give shares above 0 and up to 1")
        self.automatic_optimization = False
        self.threat_model = threat_model
        self.ledger = QueryLedger(threat_model.query_budget)
        shape = threat_model.num_classes, threat_model.channels, threat_model.image_size
        self.clones = CloneEnsemble(build_classifier(clone, *shape) for _ in range(clone_count))
        self.goals = QueriesToAccuracy(list(accuracy_goals))
        self.vote_quality = CloneQuality()
        self.clone_quality = nn.ModuleList(CloneQuality() for _ in range(clone_count))
        self.victim_quality = CloneQuality()
        self.victim_accuracy: float | None = None
        self._reference: dict[int, Tensor] = {}

    @property
    @abstractmethod
    def queries_per_iteration(self) -> int:
        """Victim samples that one whole iteration buys, over all processes."""

    @property
    def can_pay_iteration(self) -> bool:
        """Whether the account pays for another iteration, or for a smaller last one that spends the remainder."""
        if self.threat_model.remainder == "fill":
            return self.ledger.remaining >= self.trainer.world_size
        return self.ledger.remaining >= self.queries_per_iteration

    def affordable(self, count: int, queries_each: int = 1) -> int:
        """Samples of a batch that can be bought: all, or under ``remainder: fill`` what is left for the last ones."""
        if self.threat_model.remainder == "stop":
            return count
        most = self.ledger.remaining // queries_each
        return min(count, most - most % self.trainer.world_size)

    def stop_buying(self) -> None:
        """Closes the account: from here on the oracle refuses every query."""
        self.ledger.close()
        self.answered_at_stop = self.oracle.answered

    def update(self, optimizer: LightningOptimizer, loss: Tensor) -> None:
        """One optimizer step on a loss; leaves no gradient behind."""
        self.manual_backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        torch.clear_autocast_cache()  # else the next step of this iteration could compute with the old weights

    def clone_logits(self, samples: Tensor) -> Tensor:
        """Logits ``(S, B, K)`` of all clones for samples ``(B, C, H, W)`` in the input space."""
        logits: Tensor = self.clones(samples.to(self.dtype))
        return logits

    def describe_missing(self) -> list[str]:
        """What must be put in place before the attack can start, a sentence each."""
        missing = describe_missing_victim(self.threat_model.victim)
        return [] if missing is None else [missing]

    # Set-up: everything that can be wrong is found here, before the first query.

    def setup(self, stage: str) -> None:
        """Opens the victim and checks that experiment, data set, processes and precision fit together.

        Raises:
            InputError: They do not.
        """
        if not hasattr(self, "oracle"):
            network, card = load_victim(self.threat_model.victim)
            self.threat_model.check_victim(card)
            self.victim_card = card
            self._check_data()
            self.oracle = VictimOracle(
                network=network,
                num_classes=card.num_classes,
                image_shape=self.threat_model.image_shape,
                mean=card.mean,
                std=card.std,
                access=self.threat_model.access,
                ledger=self.ledger,
                input_space=self.threat_model.input_space,
                world_size=self.trainer.world_size,
            ).to(self.trainer.strategy.root_device)
            self.oracle.probe()
        if stage == "fit":
            self._check_processes()
            if self.trainer.world_size > 1:
                synchronise_batch_norm(self, self.trainer.strategy.root_device.type)

    def _check_data(self) -> None:
        data = getattr(self.trainer, "datamodule", None)
        for name in ("num_classes", "channels", "image_size"):
            assumed, found = getattr(self.threat_model, name), getattr(data, name, None)
            if found is not None and assumed != found:
                raise InputError(
                    f"{name} is {assumed}, but the evaluation data set has {found}; use data like the victim's"
                )

    def _check_processes(self) -> None:
        world_size, strategy = self.trainer.world_size, self.trainer.strategy
        # Without it the first backward passes of alternating networks fail, or are silently not synchronised.
        if isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters"):
            raise InputError(
                'strategy "ddp" cannot alternate networks; set trainer.strategy to ddp_find_unused_parameters_true'
            )
        if str(self.trainer.precision) not in ("32-true", "bf16-mixed", "16-mixed"):
            raise InputError(
                f"precision {self.trainer.precision} is not supported; use 32-true, bf16-mixed or 16-mixed"
            )
        if self.queries_per_iteration > self.ledger.budget and self.threat_model.remainder == "stop":
            raise InputError(
                f"the budget of {self.ledger.budget:,} queries does not pay one iteration of "
                f"{self.queries_per_iteration:,}; raise query_budget, lower batch_size or set remainder to fill"
            )
        leftover = self.ledger.budget % self.queries_per_iteration % world_size
        if self.threat_model.remainder == "fill" and leftover:
            raise InputError(
                f"the last {leftover} queries of {self.ledger.budget:,} cannot be split over {world_size} "
                "processes; change query_budget or set remainder to stop"
            )

    # Evaluation: clones against the truth and against the victim's free answers.

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Compares clones and victim on one batch of images ``(B, C, H, W)`` in [-1, 1] with labels ``(B,)``."""
        images, labels = batch
        samples = self.oracle.to_input_space(images)
        if batch_idx not in self._reference:
            self._reference[batch_idx] = self.oracle.reference(samples)
        victim = self._reference[batch_idx]
        logits = self.clone_logits(samples)
        self.vote_quality.update(soft_vote(logits), victim, labels)
        for quality, member in zip(self.qualities, logits, strict=True):
            quality.update(soft_vote(member[None]), victim, labels)
        self.victim_quality.update(victim, victim, labels)

    @property
    def qualities(self) -> list[CloneQuality]:
        """The quality of each clone, in their order."""
        return [quality for quality in self.clone_quality if isinstance(quality, CloneQuality)]

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """The same as in validation: both read the test split, training never selects by it."""
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The extracted model's class probabilities ``(B, K)`` for images ``(B, C, H, W)`` in [-1, 1]."""
        return soft_vote(self.clone_logits(self.oracle.to_input_space(batch[0])))

    def on_validation_epoch_end(self) -> None:
        """Logs one row: quality of the soft vote and of each clone, and what training has gathered since the last."""
        row = dict(self.vote_quality.compute())
        for i, quality in enumerate(self.qualities):
            row |= {f"{name}_clone_{i}": value for name, value in quality.compute().items()}
        self.victim_accuracy = float(self.victim_quality.compute()["accuracy"])
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.oracle.verify_pending()
            row |= self.training_row()
            self.goals.update(float(row["accuracy"]), self.ledger.spent)
        for quality in (self.vote_quality, self.victim_quality, *self.qualities):
            quality.reset()
        # A float64 tensor: Lightning would round an int to float32, exact only up to 16,777,216.
        self.log_dict(row | {"queries": torch.tensor(self.ledger.spent, dtype=torch.float64)})

    def on_test_epoch_end(self) -> None:
        """Logs the same row."""
        self.on_validation_epoch_end()

    def training_row(self) -> dict[str, Tensor]:
        """Numbers of the training since the last evaluation, by name; an attack adds its own."""
        return {}

    # Checkpoints: what Lightning does not save itself.

    def attack_state(self) -> dict[str, Any]:
        """Account, counters and buffers in plain types and tensors; an attack adds its own."""
        return {
            "ledger": self.ledger.state_dict(),
            "answered": self.oracle.answered,
            "referenced": self.oracle.referenced,
            "victim_accuracy": self.victim_accuracy,
            "goals": {str(goal): queries for goal, queries in self.goals.queries.items()},
        }

    def load_attack_state(self, state: dict[str, Any]) -> None:
        """Restores what ``attack_state`` gave."""
        self.ledger.load_state_dict(state["ledger"])
        self.oracle.answered, self.oracle.referenced = state["answered"], state["referenced"]
        self.victim_accuracy = state["victim_accuracy"]
        self.goals.queries |= {float(goal): queries for goal, queries in state["goals"].items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the attack's state; what accelerators have not yet checked is checked first."""
        self.oracle.verify_pending()
        checkpoint["attack"] = self.attack_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the attack's state.

        Raises:
            InputError: The checkpoint is not one of an extraction attack.
        """
        if "attack" not in checkpoint:
            raise InputError("the checkpoint holds no extraction attack; give one that this program wrote")
        self.load_attack_state(checkpoint["attack"])
