"""Groups of settings that data-free attacks share; each is one block of a config."""

from dataclasses import dataclass
from typing import Literal

from lightning_extract.data.replay import ReplayDtype


@dataclass(frozen=True)
class CloneTraining:
    """How the clones learn from the victim's answers.

    Args:
        network: Name of the clones' network; resnet18_8x in the papers.
        count: Number of clones, which differ by their random initialisation only.
        steps: Batches bought and learnt in one iteration.
        soft_loss: Loss for soft access: l1 on recovered logits (what the official codes of DFME and DisGUIDE run)
            or cross_entropy on probabilities (the DisGUIDE paper's words).
        heldout_every: In every so many iterations the first bought batch is set aside and never trained on, so
            that a clone can be selected without test data; 0 trains on all, as the papers do. 150 is ours: one batch
            of each epoch of the official DisGUIDE code.
        channels_last: Memory layout of the clones. Faster in bf16 and on most GPUs; no gain for float32 on CPUs.
        compile: Whether torch.compile translates the clones first: minutes at the start, faster on GPUs afterwards.
    """

    network: str = "resnet18_8x"
    count: int = 2
    steps: int = 1
    soft_loss: Literal["l1", "cross_entropy"] = "l1"
    heldout_every: int = 150
    channels_last: bool = False
    compile: bool = False


@dataclass(frozen=True)
class ReplaySettings:
    """Experience replay of bought answers.

    Args:
        size: Samples kept, never more than the query budget; 1M is DisGUIDE's, section 4.
        batches: Replayed batches an iteration; 3 is DisGUIDE's, section 4; 0 switches replay off.
        dtype: How pixels are stored; uint8 needs a quarter of float32's memory and rounds to 256 levels.
        device: Where the samples lie: cpu, or the accelerator that trains, which need not wait for copies then.
    """

    size: int = 1_000_000
    batches: int = 3
    dtype: ReplayDtype = "float32"
    device: Literal["cpu", "accelerator"] = "cpu"


@dataclass(frozen=True)
class Schedule:
    """Learning rates of all networks as a function of the spent share of the budget.

    Args:
        milestones: Shares of the budget at which the rates drop; 0.4 and 0.8 are DisGUIDE's, section 4.
        factor: What they are multiplied by at each; 0.3 in DFME, Dual Students and DisGUIDE.
    """

    milestones: tuple[float, ...] = (0.4, 0.8)
    factor: float = 0.3


@dataclass(frozen=True)
class GeneratorTraining:
    """The generator and its share of an iteration.

    Args:
        latent_dim: Length of a latent vector; 256 in the official code.
        width: Channels of the last hidden layer, half of those before; 64 in the official code.
        steps: Generator steps an iteration; 1 in the paper, section 4.
    """

    latent_dim: int = 256
    width: int = 64
    steps: int = 1
