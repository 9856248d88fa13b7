"""What all extraction attacks share: the victim behind its oracle, the account, and the evaluation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from lightning_extract.attacks.checks import check_budget, check_data, check_processes
from lightning_extract.attacks.class_discovery import ClassDiscovery, KnownClasses
from lightning_extract.attacks.clone_scores import CloneScores
from lightning_extract.attacks.settings import CloneTraining
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.attacks.work import Work
from lightning_extract.errors import InputError
from lightning_extract.functional.distributed import gather_shares
from lightning_extract.functional.logits import soft_vote
from lightning_extract.functional.losses import answer_loss
from lightning_extract.functional.precision import begin_momenta
from lightning_extract.metrics import QueriesToAccuracy
from lightning_extract.networks import CloneEnsemble, build_classifier, synchronise_batch_norm
from lightning_extract.oracle import QueryLedger, Samples, VictimOracle
from lightning_extract.victims.card import Card
from lightning_extract.victims.loading import describe_missing_victim


class ExtractionAttack(LightningModule, ABC):
    """Base of all attacks: clones that learn to answer as the victim does within a query budget.

    Args:
        threat_model: What the attacker may do and knows.
        clone_training: The clones' network and number; the extracted model is their soft vote.
        accuracy_goals: Accuracies for which the number of queries is reported when they are first reached.
        new_clone: Makes a clone with fresh weights; the named network for images when not given.

    Attributes:
        ledger: The account of queries.
        iterations_done: Whole iterations so far.
        outputs: Outputs of a clone: the number of classes, or room for those to be discovered.
        oracle: The victim's door; exists from ``setup`` on.
        victim_accuracy: The victim's accuracy on the evaluated data set, once measured.
        answered_at_stop: Samples that the victim had answered when the account was closed.
        stage_ended: The stage that the last iteration ended; empty when it ended none.
        heldout_model: The evaluated model that selection by held-out answers chooses.
        learning_since: Queries spent when the clones began to learn; None while they cannot be judged.
    """

    oracle: VictimOracle
    victim_card: Card
    answered_at_stop: int | None = None
    stage_ended: str = ""
    heldout_model = "vote"
    learning_since: int | None = 0

    def __init__(
        self,
        threat_model: ThreatModel,
        clone_training: CloneTraining,
        accuracy_goals: Sequence[float] = (),
        new_clone: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not all(0 < goal <= 1 for goal in accuracy_goals):
            raise InputError(f"accuracy_goals are {list(accuracy_goals)}; give shares above 0 and up to 1")
        self.automatic_optimization = False
        self.threat_model, self.clone_training = threat_model, clone_training
        self.ledger, self.iterations_done = QueryLedger(threat_model.query_budget), 0
        known = threat_model.num_classes
        self.outputs = clone_training.class_capacity if known == "unknown" else known
        self.classes = ClassDiscovery(self.outputs) if known == "unknown" else KnownClasses()
        shape = self.outputs, threat_model.channels, threat_model.image_size
        self.new_clone = new_clone or partial(build_classifier, clone_training.network, *shape)
        self.clones = CloneEnsemble(self.new_clone() for _ in range(clone_training.count))
        self.clone_loss_mean = MeanMetric(nan_strategy="disable")
        self.goals = QueriesToAccuracy(list(accuracy_goals))
        self.scores = CloneScores(self.evaluated_models())
        self.victim_accuracy: float | None = None
        self._reference: dict[int, Tensor] = {}

    @property
    @abstractmethod
    def queries_per_iteration(self) -> int:
        """Victim samples that one whole iteration buys, over all processes."""

    @property
    def initial_queries(self) -> int:
        """Answers that are bought once, beside those of the iterations."""
        return 0

    @property
    def finished(self) -> bool:
        """Whether the account pays no other iteration; an attack that trains on after its last purchase ends later."""
        fills = self.threat_model.remainder == "fill"
        return self.ledger.remaining < (self.trainer.world_size if fills else self.queries_per_iteration)

    @property
    def progress(self) -> float:
        """Share of the attack that is done, in [0, 1], which learning rates follow: that of the budget."""
        return self.ledger.progress

    @property
    def work(self) -> Work:
        """What a progress bar shows; an attack with stages gives that of the stage it is in."""
        return Work("", self.ledger.spent, self.ledger.budget, " queries")

    @property
    def num_classes(self) -> int:
        """The victim's number of classes, for evaluation; what the attacker knows is in the threat model."""
        return self.victim_card.num_classes

    def affordable(self, count: int, queries_each: int = 1) -> int:
        """Samples of a batch that can be bought: all, or under ``remainder: fill`` what is left for the last ones."""
        return self.threat_model.affordable(count, queries_each, self.ledger.remaining, self.trainer.world_size)

    def stop_buying(self) -> None:
        """Closes the account: from here on the oracle refuses every query."""
        self.ledger.close()
        self.answered_at_stop = self.oracle.answered

    def update(self, optimizer: LightningOptimizer, loss: Tensor) -> None:
        """One optimizer step on a loss; leaves no gradient behind."""
        self.manual_backward(loss)
        if getattr(self.trainer.precision_plugin, "scaler", None):
            begin_momenta(optimizer.optimizer)
        optimizer.step()
        optimizer.zero_grad()
        torch.clear_autocast_cache()  # else the next step of this iteration could compute with the old weights

    @property
    def schedulers(self) -> list[LRScheduler]:
        """All schedulers of learning rates; Lightning returns a bare one when there is only one."""
        schedulers = self.lr_schedulers()
        return [s for s in (schedulers if isinstance(schedulers, list) else [schedulers]) if s is not None]

    @property
    def optimizer_list(self) -> list[LightningOptimizer]:
        """All optimizers, the clones' first; Lightning returns a bare one when there is only one."""
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def clone_inputs(self, samples: Samples) -> Tensor:
        """What the clones read of samples: images ``(B, C, H, W)`` in the input space as they are."""
        assert isinstance(samples, Tensor)
        return samples

    def clone_logits(self, inputs: Tensor) -> Tensor:
        """Logits ``(S, B, K)`` of all clones for their inputs ``(B, ...)``, of the known classes."""
        return self.classes.visible(self.clones(inputs.to(self.dtype) if inputs.is_floating_point() else inputs))

    def imitate(
        self, inputs: Tensor, answers: Tensor, optimizer: LightningOptimizer | None = None, weight: float = 1.0
    ) -> Tensor:
        """One step of every clone towards the victim's answers on the same batch; returns the clones' mean loss.

        One optimizer holds all clones. Their losses share no weight, so that it does the very steps of one each.
        """
        optimizer = optimizer or self.optimizer_list[0]
        with self.toggled_optimizer(optimizer):
            # A process without a sample of the batch takes part in the step all the same; a mean of none is NaN.
            losses = [
                self.clone_loss(logits, answers) if len(inputs) else logits.sum()
                for logits in self.clone_logits(inputs)
            ]
            self.update(optimizer, loss := torch.stack(losses).sum() * weight)
        self.clone_loss_mean.update(mean := loss.detach() / len(self.clones))
        return mean

    def clone_loss(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Loss of one clone: logits ``(B, K)`` against probabilities ``(B, K)`` or labels ``(B,)``."""
        answers = self.classes.outputs_of(answers) if answers.ndim == 1 else answers
        return answer_loss(logits, answers, self.clone_training.soft_loss, self.clone_training.temperature)

    def vote(self, logits: Tensor) -> Tensor:
        """Mean of the voters' probabilities in the victim's classes: logits ``(S, B, known)`` to ``(B, K)``."""
        return self.classes.to_victim_classes(soft_vote(logits), self.num_classes)

    def clone_probabilities(self, samples: Samples) -> Tensor:
        """The extracted model: probabilities ``(B, K)`` for samples ``(B, C, H, W)`` in the input space."""
        return self.vote(self.clone_logits(self.clone_inputs(samples)))

    def gather(self, *shares: Tensor) -> tuple[Tensor, ...]:
        """The global batch, on every process in the same order, from the processes' equal shares."""
        return tuple(gather_shares(share, len(share) * self.trainer.world_size) for share in shares)

    def evaluated_models(self) -> list[str]:
        """Names of the models that are evaluated: the soft vote, each clone, and what an attack adds."""
        return ["vote", *(f"clone_{i}" for i in range(len(self.clones)))]

    def model_probabilities(self, inputs: Tensor) -> list[Tensor]:
        """Probabilities ``(B, K)`` of the evaluated models for inputs of clones, in the order of their names."""
        logits = self.clone_logits(inputs)
        return [self.vote(voters) for voters in (logits, *logits[:, None])]

    def describe_missing(self, fitting: bool = True) -> list[str]:
        """What must be put in place before the attack can start, or only be evaluated, a sentence each."""
        return list(filter(None, [describe_missing_victim(self.threat_model.victim)]))

    # Set-up: everything that can be wrong is found here, before the first query.

    def setup(self, stage: str) -> None:
        """Opens the victim and checks that experiment, data set, processes and precision fit together.

        Raises:
            InputError: They do not.
        """
        if not hasattr(self, "oracle"):
            self.oracle, self.victim_card = self.threat_model.open_victim(self.ledger, self.trainer.world_size)
            check_data(self.trainer, self.victim_card)
            self.oracle.to(self.trainer.strategy.root_device).probe()
        if stage == "fit":
            check_processes(self.trainer)
            self.check_purchases()
            if self.trainer.world_size > 1:
                synchronise_batch_norm(self, self.trainer.strategy.root_device.type)

    def check_purchases(self) -> None:
        """Refuses a budget that does not pay for the attack, and batches that processes cannot share."""
        costs = self.initial_queries, self.queries_per_iteration
        check_budget(self.threat_model, *costs, self.trainer.world_size, self.clones)

    # Evaluation: clones against the truth and against the victim's free answers.

    def validation_step(self, batch: tuple[Samples, Tensor], batch_idx: int) -> None:
        """Compares clones and victim on a batch: images ``(B, C, H, W)`` in [-1, 1] or sentences, labels ``(B,)``."""
        samples = self.oracle.to_input_space(batch[0])
        if batch_idx not in self._reference:
            self._reference[batch_idx] = self.oracle.reference(samples)
        self.scores.update(self._reference[batch_idx], self.model_probabilities(self.clone_inputs(samples)), batch[1])

    def test_step(self, batch: tuple[Samples, Tensor], batch_idx: int) -> None:
        """The same as in validation: both read the test split, training never selects by it."""
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: tuple[Samples, Tensor], batch_idx: int) -> Tensor:
        """The extracted model's class probabilities ``(B, K)`` for images ``(B, C, H, W)`` in [-1, 1] or sentences."""
        return self.clone_probabilities(self.oracle.to_input_space(batch[0]))

    def on_validation_epoch_end(self) -> None:
        """Logs one row: quality of every evaluated model, and what training has gathered since the last."""
        self.victim_accuracy, row = self.scores.compute()
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.oracle.verify_pending()
            row |= self.training_row()
            self.goals.update(float(row["accuracy"]), self.ledger.spent)
        # Float64 tensors: Lightning would round an int to float32, exact only up to 16,777,216.
        counts = {"queries": self.ledger.spent, "iteration": self.iterations_done}
        self.log_dict(row | {name: torch.tensor(count, dtype=torch.float64) for name, count in counts.items()})

    def on_test_epoch_end(self) -> None:
        self.on_validation_epoch_end()

    def training_row(self) -> dict[str, Tensor]:
        """Numbers of the training since the last evaluation, by name; an attack adds its own."""
        if not self.clone_loss_mean.update_called:  # nothing was learnt
            return {}
        row = {"clone_loss": self.clone_loss_mean.compute()}
        self.clone_loss_mean.reset()
        return row

    def attack_state(self) -> dict[str, Any]:
        """Account, counters and buffers in plain types and tensors; an attack adds its own."""
        return {
            "ledger": self.ledger.state_dict(),
            "iterations_done": self.iterations_done,
            "classes": self.classes.state_dict(),
            "oracle": self.oracle.state_dict(),
            "victim_accuracy": self.victim_accuracy,
            "goals": {str(goal): queries for goal, queries in self.goals.queries.items()},
        }

    def load_attack_state(self, state: dict[str, Any]) -> None:
        """Restores it."""
        self.ledger.load_state_dict(state["ledger"])
        self.iterations_done = state["iterations_done"]
        self.classes.load_state_dict(state["classes"])
        self.oracle.load_state_dict(state["oracle"], self.global_rank)
        self.victim_accuracy = state["victim_accuracy"]
        self.goals.queries |= {float(goal): queries for goal, queries in state["goals"].items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the attack's state; what accelerators have not yet checked is checked first."""
        self.oracle.verify_pending()
        checkpoint["attack"] = self.attack_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the attack's state.

        Raises:
            InputError: The checkpoint is not one of this attack.
        """
        try:
            self.load_attack_state(checkpoint["attack"])
        except KeyError as error:
            raise InputError(f"the checkpoint lacks {error}: another attack or version made it; use another") from error
