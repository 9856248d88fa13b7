"""Groups of settings that data-free attacks share; each is one block of a config."""

import math
from dataclasses import dataclass
from typing import Literal

from lightning_extract.data.replay import ReplayDtype
from lightning_extract.errors import InputError
from lightning_extract.functional.losses import SoftLoss


@dataclass(frozen=True)
class CloneTraining:
    """How the clones learn from the victim's answers.

    Args:
        network: Name of the clones' network; resnet18_8x in the papers.
        count: Number of clones, which differ by their random initialisation only.
        steps: Batches bought and learnt in one iteration.
        soft_loss: Loss for soft access: l1 on recovered logits (what the official codes of DFME, Dual Students and
            DisGUIDE run), kl divergence (MAZE, DFME's ablation) or cross_entropy on probabilities (the DisGUIDE paper's
            words; it has the gradient of kl).
        temperature: Softens both sides of soft_loss kl, and multiplies it by its square; 1 in all data-free attacks.
        heldout_every: In every so many iterations the first bought batch is set aside and never trained on, so
            that a clone can be selected without test data; 0 trains on all, as the papers do. 150 is ours: one batch
            of each epoch of the official DisGUIDE code.
        start_from: Run folders whose extracted clones are the start, in this order; clones beyond theirs start from
            random weights. The queries of those runs are reported beside this run's, not charged to its budget.
        class_capacity: Most classes that the clones can tell apart when the attacker does not know their number.
        channels_last: Memory layout of the clones. Faster in bf16 and on most GPUs; no gain for float32 on CPUs.
        compile: Whether torch.compile translates the clones first: minutes at the start, faster on GPUs afterwards.
    """

    network: str = "resnet18_8x"
    count: int = 2
    steps: int = 1
    soft_loss: SoftLoss = "l1"
    temperature: float = 1.0
    heldout_every: int = 150
    start_from: tuple[str, ...] = ()
    class_capacity: int = 1000
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if self.count < 1 or self.steps < 1:
            raise InputError(
                f"clone_training.count is {self.count} and clone_training.steps {self.steps}; give at least 1"
            )
        if self.heldout_every < 0:
            raise InputError(
                f"clone_training.heldout_every is {self.heldout_every}; give 0 to train on all answers, or at least 2"
            )
        if self.heldout_every == 1:
            raise InputError("heldout_every is 1, which leaves nothing to train on; give 0 (never) or at least 2")
        if not 0 < self.temperature < math.inf:
            raise InputError(f"clone_training.temperature is {self.temperature}; give a number above 0")
        if self.temperature != 1 and self.soft_loss != "kl":
            raise InputError(
                f"clone_training.temperature is {self.temperature}, but soft_loss {self.soft_loss} has none; "
                "set soft_loss to kl or the temperature to 1"
            )
        if self.class_capacity < 2:
            raise InputError(f"clone_training.class_capacity is {self.class_capacity}; give at least 2")


@dataclass(frozen=True)
class ReplaySettings:
    """Experience replay of bought answers.

    Args:
        size: Samples kept, never more than the query budget; 1M is DisGUIDE's, section 4.
        batches: Replayed batches an iteration; 3 is DisGUIDE's, section 4; 0 switches replay off.
        stored: Which of an iteration's bought batches are kept: all, or the last one (MAZE's official code).
        dtype: How pixels are stored; uint8 needs a quarter of float32's memory and rounds to 256 levels.
        device: Where the samples lie: cpu, or the accelerator that trains, which need not wait for copies then.
    """

    size: int = 1_000_000
    batches: int = 3
    stored: Literal["all", "last"] = "all"
    dtype: ReplayDtype = "float32"
    device: Literal["cpu", "accelerator"] = "cpu"

    def __post_init__(self) -> None:
        if self.batches < 0:
            raise InputError(f"replay.batches is {self.batches}; give 0 to switch replay off, or more")


NO_REPLAY = ReplaySettings(batches=0)


@dataclass(frozen=True)
class Schedule:
    """Learning rates of all networks over an attack: the spent share of its budget, or of its passes over a pool.

    Args:
        milestones: Shares of the attack at which the rates drop; 0.4 and 0.8 are DisGUIDE's, section 4.
        factor: What they are multiplied by at each; 0.3 in DFME, Dual Students and DisGUIDE.
        shape: Drops at the milestones (steps), half a cosine from the full rate to zero (MAZE), or a triangle from
            zero to the full rate and back (DFME's surrogate study); the last two use neither milestones nor factor.
        warmup: Share of the attack, or of the stage, over which the rates first rise from zero; none in most papers.
    """

    milestones: tuple[float, ...] = (0.4, 0.8)
    factor: float = 0.3
    shape: Literal["steps", "cosine", "triangle"] = "steps"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise InputError(f"schedule.warmup is {self.warmup}; give a share of at least 0 and below 1")
        if not all(0 < share < 1 for share in self.milestones):
            raise InputError(f"schedule.milestones are {self.milestones}; give shares of the attack between 0 and 1")
        if not self.factor > 0:
            raise InputError(f"schedule.factor is {self.factor}; give a factor above 0")

    def rate(self, progress: float) -> float:
        """What the learning rates are multiplied by at a share of the attack in [0, 1]."""
        return self._warm(progress) * self._shaped(progress)

    def _warm(self, progress: float) -> float:
        return min(1.0, progress / self.warmup) if self.warmup else 1.0

    def _shaped(self, progress: float) -> float:
        if self.shape == "cosine":
            return (1 + math.cos(math.pi * progress)) / 2
        if self.shape == "triangle":
            return 1 - abs(2 * progress - 1)
        return self.factor ** sum(progress >= share for share in self.milestones)


@dataclass(frozen=True)
class GeneratorTraining:
    """The generator and its share of an iteration.

    Args:
        latent_dim: Length of a latent vector; 256 in the official codes, 100 in MAZE's.
        width: Channels of the last hidden layer, half of those before; 64 in the official codes.
        affine: Whether the last batch normalisation is trainable, as in MAZE's official code.
        steps: Generator steps an iteration; 1 in all papers.
    """

    latent_dim: int = 256
    width: int = 64
    affine: bool = False
    steps: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"generator_training.steps is {self.steps}; give at least 1")


@dataclass(frozen=True)
class ForwardDifferences:
    """Zeroth-order estimation of the generator's gradient.

    Args:
        directions: Random directions a sample, m in the papers; a generator step asks for m + 1 answers a sample.
        epsilon: Step along a direction of length 1, before tanh; 1e-3 in DFME and MAZE.
    """

    directions: int = 1
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        if self.directions < 1:
            raise InputError(f"differences.directions is {self.directions}; give at least 1")
        # Below it float32 cannot tell the two points of a difference apart.
        if not 1e-6 <= self.epsilon <= 1:
            raise InputError(f"differences.epsilon is {self.epsilon}; give a step between 1e-6 and 1")


@dataclass(frozen=True)
class WeightAveraging:
    """Exponential moving averages of weights (and batch statistics), evaluated beside the weights themselves.

    Args:
        every: Iterations between two updates of the averages; 10 in Dual Students' official code; 0 switches off.
        momentum: Share of the old average in the new; 0.9 in the same code. The first update copies.
        generator: Whether the generator is averaged too and its average makes the queries. The official code keeps
            such an average and never uses it.
    """

    every: int = 10
    momentum: float = 0.9
    generator: bool = False

    def __post_init__(self) -> None:
        if self.every < 0:
            raise InputError(f"averaging.every is {self.every}; give 0 to switch averaging off, or more")
        if self.generator and not self.every:
            raise InputError(
                "averaging.generator is true, but averaging.every is 0, which switches averages off; give 1 or more"
            )
        if not 0 <= self.momentum < 1:
            raise InputError(f"averaging.momentum is {self.momentum}; give a share of at least 0 and below 1")
