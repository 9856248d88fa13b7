"""Distillation from a pool of public images or noise: the field's baseline."""

import math
from collections.abc import Sequence

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import SGD

from lightning_extract.attacks.data_free import DataFreeAttack
from lightning_extract.attacks.settings import CloneTraining, ReplaySettings, Schedule
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.attacks.work import Work
from lightning_extract.data.draws import mix_seed
from lightning_extract.data.pool_stream import PoolStream
from lightning_extract.data.replay import ReplayDtype
from lightning_extract.data.seeds import run_seed
from lightning_extract.errors import InputError


class SurrogateDistillation(DataFreeAttack):
    """Extraction by random samples of a surrogate set: bought in the first pass, trained on in all passes.

    Knockoff Nets' random policy, Copycat CNN and uniform noise are configs of it.

    Reference:
        Truong et al., DFME, CVPR 2021, section 3 (surrogate sets); Orekondy et al., Knockoff Nets, CVPR 2019;
        Correia-Silva et al., Copycat CNN, IJCNN 2018; Tramer et al., USENIX Security 2016 (noise).

    Queries per iteration:
        ``batch_size * clone_training.steps`` in the first pass, none in the others.

    Deviations:
        Surrogate images go to the victim as images; DFME's benchmark normalises them by the surrogate's statistics.
        An image is bought once before any is bought again; that benchmark augments it anew, and so asks again, in
        every pass. Held-out answers are trained on in none. Knockoff and Copycat start from ImageNet weights.
    """

    def __init__(
        self,
        threat_model: ThreatModel,
        clone_training: CloneTraining = CloneTraining(count=1, soft_loss="kl"),
        passes: int = 50,
        replay_dtype: ReplayDtype = "float32",
        schedule: Schedule = Schedule(shape="triangle"),
        batch_size: int = 100,
        clone_optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True),
        accuracy_goals: Sequence[float] = (),
    ) -> None:
        """Sets up the clone.

        Args:
            threat_model: What the attacker may do and knows.
            clone_training: One clone that learns by KL divergence; a temperature of 1, 3 or 5 in DFME's study.
            passes: Epochs over the bought answers; 50 in DFME's study, 30 for SVHN.
            replay_dtype: How bought samples are kept; uint8 is exact for images of files, not for noise.
            schedule: Learning rate over all passes; a triangle in DFME's study.
            batch_size: Samples in a batch, over all processes; 100 in DFME's study.
            clone_optimizer: SGD with rate 0.1, momentum 0.9 and weight decay 5e-4 (DFME's study).
            accuracy_goals: Accuracies for which the number of queries at the first reach is reported.
        """
        if passes < 1:
            raise InputError(f"passes is {passes}; give at least 1")
        if threat_model.input_space != "pre_transform":
            raise InputError("a pool holds images, not normalised data; set threat_model.input_space to pre_transform")
        everything = ReplaySettings(max(threat_model.query_budget, batch_size), batches=1, dtype=replay_dtype)
        super().__init__(
            threat_model, clone_training, everything, schedule, batch_size, clone_optimizer, accuracy_goals
        )
        self.passes = passes
        self._order: tuple[int, list[int]] = (-1, [])

    @property
    def purchases(self) -> int:
        """Iterations of the first pass, which buy."""
        rounding = math.ceil if self.threat_model.remainder == "fill" else math.floor
        return rounding(self.ledger.budget / self.queries_per_iteration)

    @property
    def batches_per_pass(self) -> int:
        """Batches that are trained on; those set aside for selection are not."""
        spent = min(self.ledger.budget, self.purchases * self.queries_per_iteration)
        every = self.clone_training.heldout_every
        return math.ceil(spent / self.batch_size) - (self.purchases // every if every else 0)

    @property
    def iterations(self) -> int:
        """Iterations of all passes."""
        return self.purchases + math.ceil((self.passes - 1) * self.batches_per_pass / self.clone_training.steps)

    @property
    def finished(self) -> bool:
        return self.iterations_done >= self.iterations

    @property
    def progress(self) -> float:
        return min(1.0, self.iterations_done / self.iterations)

    @property
    def work(self) -> Work:
        """Queries in the first pass, iterations in those that follow it."""
        if self.iterations_done < self.purchases or self.passes == 1:
            return super().work
        return Work("", self.iterations_done, self.iterations, " iterations")

    def setup(self, stage: str) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, PoolStream):
            raise InputError("SurrogateDistillation draws its queries from a pool; set data.class_path to PoolStream")
        super().setup(stage)
        size = data.pool.size if stage == "fit" else None
        if size is not None and size < self.ledger.budget:
            rank_zero_warn(f"the pool has {size:,} images for {self.ledger.budget:,} queries: some are bought again")

    @torch.no_grad()
    def make_queries(self, count: int) -> Tensor:
        """The next samples of the pool."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, PoolStream)
        return data.pool.batch(self.ledger.spent, count, self.draws)

    def clone_phase(self, iteration: int) -> None:
        """The first pass: every batch is bought and trained on."""
        if iteration < self.purchases:
            super().clone_phase(iteration)

    def replay_phase(self) -> None:
        """The other passes: batches of bought answers, in a fresh order each pass."""
        first = (self.iterations_done - self.purchases) * self.clone_training.steps
        if first < 0 or self.replay_buffer is None:
            return
        self.clones.train()
        last = min(first + self.clone_training.steps, (self.passes - 1) * self.batches_per_pass)
        for index in range(first, last):
            positions = self.draws.share(self._positions(*divmod(index, self.batches_per_pass)))
            self.imitate(*self.replay_buffer.read(positions, self.device))

    def _positions(self, number: int, batch: int) -> list[int]:
        """What a batch of a pass over the stored answers holds."""
        if self._order[0] != number:
            assert self.replay_buffer is not None
            rng = torch.Generator().manual_seed(mix_seed(run_seed(), -2 - number))  # apart from the pool's own draws
            self._order = number, torch.randperm(len(self.replay_buffer), generator=rng).tolist()
        return self._order[1][batch * self.batch_size : (batch + 1) * self.batch_size]
