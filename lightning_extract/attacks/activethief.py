"""ActiveThief: extraction with public samples that the clone itself chooses."""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from math import ceil
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.optim import Adam, Optimizer
from torchmetrics.functional.classification import multiclass_f1_score

from lightning_extract.attacks.base import ExtractionAttack
from lightning_extract.attacks.bought_answers import BoughtAnswers
from lightning_extract.attacks.checks import check_single_images
from lightning_extract.attacks.clone_reader import ImageReader, SentenceReader
from lightning_extract.attacks.round_candidates import RoundCandidates, pool_probabilities
from lightning_extract.attacks.round_checks import check_pool, check_purchases, check_selection, check_settings
from lightning_extract.attacks.round_state import RoundState
from lightning_extract.attacks.rounds import EarlyStopping, Rounds, Selection, TextClones
from lightning_extract.attacks.settings import CloneTraining
from lightning_extract.attacks.thief_clone import build_clone
from lightning_extract.attacks.thief_split import ThiefSplit
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.attacks.work import Work
from lightning_extract.data.draws import Iteration, IterationDraws, mix_seed, seed_networks
from lightning_extract.data.seeds import run_seed
from lightning_extract.data.thief_pool import ThiefPool
from lightning_extract.errors import InputError
from lightning_extract.functional.distributed import gather_shares, global_mean
from lightning_extract.metrics import LabelHistogram
from lightning_extract.networks import CloneEnsemble, fresh_weights
from lightning_extract.oracle import Samples
from lightning_extract.selection import select

PURCHASE_BATCH = 1024  # bounds the memory, changes no result
INITIAL_WEIGHTS = -1  # the seed of what is drawn once in a run; iterations are numbered from 0


class ActiveThief(ExtractionAttack):
    """Rounds on a pool of public samples: train the clone anew, let it choose, buy the answers.

    An iteration is one epoch of training on the bought answers.

    Reference:
        Pal et al., ActiveThief, AAAI 2020; Algorithm 1 of its preprint, "A framework for the extraction of deep neural
        networks by leveraging public data".

    Queries per iteration:
        None but in the first of a round, which buys ``((1 - eta) * B - k0) / N``, and in the very first, which buys
        ``eta * B + k0``, for the budget B and N rounds.

    Deviations:
        Batch normalisation normalises; in the released code it never does. A text clone has a vocabulary of its own,
        not the victim's. A round fills whole intervals between evaluations; what is left of its last one idles.
    """

    def __init__(
        self,
        threat_model: ThreatModel,
        clone_training: CloneTraining = CloneTraining(
            network="cnn_3_2", count=1, soft_loss="cross_entropy", heldout_every=0
        ),
        rounds: Rounds = Rounds(),
        selection: Selection = Selection(),
        early_stopping: EarlyStopping = EarlyStopping(),
        dropout: float | None = 0.1,
        batch_norm_momentum: float | None = None,
        text: TextClones = TextClones(),
        batch_size: int = 150,
        clone_optimizer: OptimizerCallable = lambda p: Adam(p, lr=1e-3, weight_decay=1e-3, fused=True),
        accuracy_goals: Sequence[float] = (),
    ) -> None:
        """Sets up the clone.

        Args:
            threat_model: What the attacker may do and knows; hard access in the paper but for its Table 4.
            clone_training: One clone, cnn_3_2 for images and text_cnn for text in the paper. Its heldout_every must be
                0: samples to validate by are bought.
            rounds: How the budget is spent.
            selection: What a round buys.
            early_stopping: When the training of a round ends.
            dropout: Of the clone's dropout layers: 0.1, and 0.2 for CIFAR-10 (section 5.3), 0.5 in the official code;
                the network's own when null.
            batch_norm_momentum: Share of a batch in the running statistics of the clone's batch normalisation; the
                network's own when null, which for cnn_3_2 is TensorFlow's 0.01: a clone of few steps, in small rounds
                or short trainings, needs more to answer as it learnt.
            text: What clones of a text victim read; without effect for images.
            batch_size: Samples in a training batch, over all processes; 150 for images, 50 for text (section 5.3).
            clone_optimizer: Adam with rate 1e-3 (section 5.3). Its weight decay of 1e-3 stands for the paper's L2 term
                on all parameters, which the official code leaves out.
            accuracy_goals: Accuracies for which the number of queries at the first reach is reported.
        """
        check_settings(threat_model, clone_training, selection, batch_size)
        new_clone = partial(build_clone, threat_model, clone_training, text, dropout, batch_norm_momentum)
        super().__init__(threat_model, clone_training, accuracy_goals, new_clone)
        self.rounds, self.selection, self.batch_size = rounds, selection, batch_size
        self.new_clone_optimizer = clone_optimizer
        self.validation_count, self.seed_count, self.selected_counts = rounds.purchases(
            threat_model.query_budget, threat_model.remainder == "fill"
        )
        self.training_set, self.validation_set = BoughtAnswers("training"), BoughtAnswers("validation")
        self.round = RoundState(early_stopping)
        self.reader = ImageReader() if threat_model.medium == "images" else SentenceReader(text)
        self.query_labels = LabelHistogram(self.outputs)

    # Algorithm 1, an epoch at a time.

    def training_step(self, iteration: Iteration, batch_idx: int) -> None:
        """One epoch: the first of a round buys its answers before, the last hands on the best weights alone."""
        self.draws = IterationDraws(iteration.seed, self.global_rank, self.trainer.world_size, self.device)
        seed_networks(iteration.seed + self.global_rank, self.device)
        if self.round.closed and batch_idx == 0:
            self.open_round()
        if not self.round.closed:
            loss = self.train_epoch(iteration.seed)
            self.round.note_epoch(self.validation_f1(), loss, self.clones)
            if self.round.exhausted:
                self.round.close(self.clones)
                self.optimizer_list[0].optimizer.state.clear()
        self.iterations_done = iteration.number + 1

    def open_round(self) -> None:
        """Buys the random start, or what the last round's clone chooses; the clone gets its first weights again."""
        if self.round.number < 0:
            self.purchase(self.validation_set, self.split.validation(self.validation_count), "validation")
            self.purchase(self.training_set, self.split.seed(self.seed_count), "seed")
        else:
            chosen = self.choose(self.selected_counts[self.round.number])
            self.purchase(self.training_set, chosen, "selected")
        self.restart_clones()
        self.round.open_next()

    def choose(self, count: int) -> Tensor:
        """Positions of unbought samples that the strategies select with the clone of the last round, ``(count,)``."""
        bought = self.training_set.positions
        candidates = RoundCandidates(
            self, self.reader, self.draws, self.selection.deepfool, self.split.unbought(bought), bought
        )
        chosen = candidates.positions[select(candidates, self.selection.strategies, count, self.survivors)]
        # Every process has chosen for itself; rounding on unlike devices must not let them differ.
        return self.trainer.strategy.broadcast(chosen)

    def purchase(self, bought: BoughtAnswers, positions: Tensor, phase: str) -> None:
        """Buys the victim's answers to samples of the pool, each process its share."""
        # Batches of like size, so that the last one has a sample for every process.
        for batch in positions.tensor_split(ceil(len(positions) / PURCHASE_BATCH)):
            samples = self.pool.queries(self.draws.share(batch))
            samples = samples.to(self.device, non_blocking=True) if isinstance(samples, Tensor) else samples
            answers = self.oracle.query(samples, phase, total=len(batch))
            self.query_labels.update(answers if answers.ndim == 1 else answers.argmax(dim=1))
            bought.add(batch, gather_shares(answers, len(batch)))

    def restart_clones(self) -> None:
        """The same first weights in every round."""
        fresh_weights(
            self.clones,
            lambda: CloneEnsemble(self.new_clone() for _ in range(len(self.clones))),
            mix_seed(run_seed(), INITIAL_WEIGHTS),
        )
        self.reader.initialise(self.clones.members)

    def train_epoch(self, seed: int) -> float:
        """Trains the clone once on every bought answer; returns the mean loss."""
        self.clones.train()
        order = torch.randperm(len(self.training_set), generator=torch.Generator().manual_seed(seed))
        losses = []
        for batch in torch.split(order, self.batch_size):
            mine = self.draws.share(batch)
            inputs = self.reader.of_pool(self.training_set.positions[mine]).to(self.device, non_blocking=True)
            # A mean over processes of means over unequal shares would weigh samples differently.
            weight = len(mine) * self.trainer.world_size / len(batch)
            losses.append(self.imitate(inputs, self.training_set.of(mine), weight=weight))
        return float(global_mean(torch.stack(losses)))

    @torch.no_grad()
    def validation_f1(self) -> float:
        """Macro-F1 of the clone against the victim's labels of the bought validation samples."""
        predicted = pool_probabilities(self, self.reader, self.draws, self.validation_set.positions).argmax(dim=1)
        labels = self.validation_set.labels
        # Not validated: to look for strange labels would make an accelerator wait.
        return float(multiclass_f1_score(predicted, labels, self.outputs, average="macro", validate_args=False))

    @property
    def survivors(self) -> int:
        """Samples that each strategy but the last hands on."""
        return self.selection.survivors or self.ledger.budget

    # Its account, and how far it has come.

    @property
    def initial_queries(self) -> int:
        return self.validation_count + self.seed_count

    @property
    def queries_per_iteration(self) -> int:
        """Victim samples that a round buys in its first iteration, over all processes."""
        return self.selected_counts[0] if self.selected_counts else 0

    @property
    def finished(self) -> bool:
        return self.round.closed and self.round.number == len(self.selected_counts)

    @property
    def learning_since(self) -> int | None:  # type: ignore[override]
        """What had been spent before the first training; a clone is judged at the end of a round alone."""
        return self.initial_queries if self.round.closed else None

    @property
    def work(self) -> Work:
        """Queries; epochs when all are spent."""
        at, last = self.round, len(self.selected_counts)
        note = f"round {max(at.number, 0)}/{last}, epoch {at.epochs}, F1 {max(at.best_score, 0):.3f}"
        if at.number < last:
            return super().work._replace(note=note)
        return Work("last round", at.epochs, at.rules.epochs, " epochs", note)

    # Set-up and optimizer.

    @property
    def pool(self) -> ThiefPool:
        """The thief pool."""
        pool: ThiefPool = self.trainer.datamodule.pool  # type: ignore[attr-defined]
        return pool

    def describe_missing(self, fitting: bool = True) -> list[str]:
        return super().describe_missing(fitting) + self.reader.describe_missing() * fitting

    def check_purchases(self) -> None:
        purchases = self.validation_count, self.seed_count, self.selected_counts
        check_purchases(self.ledger.budget, *purchases, self.trainer.world_size)
        sizes = accumulate(self.selected_counts, initial=self.seed_count)
        last_batches = {f"the last batch of round {i}": size % self.batch_size for i, size in enumerate(sizes)}
        check_single_images(self.clones, last_batches)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.clone_training.channels_last:
            self.clones.to(memory_format=torch.channels_last)
        if stage == "fit":
            self.split = ThiefSplit(check_pool(self.trainer, self.threat_model.medium), self.rounds.validation_pool)
            self.split.refuse_if_too_small(self.validation_count, self.seed_count + sum(self.selected_counts))
            before_the_last = self.split.seed(self.seed_count + sum(self.selected_counts[:-1]))
            left = len(self.split.unbought(before_the_last))
            check_selection(self.selection, self.survivors, self.selected_counts, left)
            if self.clone_training.compile:
                self.clones.compile()

    def on_fit_start(self) -> None:
        self.reader.learn(self.pool)  # here, since a checkpoint that brings the vocabulary is loaded after setup

    def configure_optimizers(self) -> Optimizer:
        try:
            return self.new_clone_optimizer(p for p in self.clones.parameters() if p.requires_grad)
        except (TypeError, ValueError) as error:
            raise InputError(f"the clones' optimizer cannot be made: {error}") from error

    def clone_inputs(self, samples: Samples) -> Tensor:
        return self.reader.of_samples(samples).to(self.device)

    # Evaluation and checkpoints.

    def training_row(self) -> dict[str, Tensor]:
        row = super().training_row()
        if self.query_labels.update_called:
            row |= self.query_labels.compute()
            self.query_labels.reset()
        at = self.round  # once it is closed, the clones have its best weights
        score, best = (at.best_score, at.best_so_far) if at.closed else (at.score, False)
        values = {"round": at.number, "round_end": at.closed, "validation_f1": score, "heldout_best": best}
        return row | {name: torch.tensor(float(value)) for name, value in values.items()}

    def attack_state(self) -> dict[str, Any]:
        if self.global_rank == 0:
            self.validation_set.save(self.trainer.default_root_dir)
            self.training_set.save(self.trainer.default_root_dir)
        return super().attack_state() | {
            "round": self.round.state_dict(),
            "validation_set": self.validation_set.state(),
            "training_set": self.training_set.state(),
            "reader": self.reader.state_dict(),
            "pool": self.split.fingerprint,
        }

    def load_attack_state(self, state: dict[str, Any]) -> None:
        super().load_attack_state(state)
        device = self.trainer.strategy.root_device
        self.round.load_state_dict(state["round"], device)
        self.reader.load_state_dict(state["reader"])
        if self.trainer.state.fn == "fit":
            self.split.refuse_other_pool(state["pool"])
            if not self.finished:
                self.validation_set.load(self.trainer.default_root_dir, state["validation_set"], device)
                self.training_set.load(self.trainer.default_root_dir, state["training_set"], device)
