"""DisGUIDE: a generator guided by the disagreement of two clones."""

from collections.abc import Sequence

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.optim import SGD, Adam

from lightning_extract.attacks.data_free import DataFreeAttack
from lightning_extract.attacks.settings import CloneTraining, GeneratorTraining, ReplaySettings, Schedule
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.errors import InputError
from lightning_extract.functional.grayscale import grayscale
from lightning_extract.functional.losses import disguide_generator_loss


class DisGUIDE(DataFreeAttack):
    """Data-free extraction in which the generator seeks samples that the clones disagree on.

    The generator never uses the victim, so that soft and hard access differ in the clones' loss only.

    Reference:
        Rosenthal, Enouen, Pham, Tan: DisGUIDE: Disagreement-Guided Data-Free Model Extraction, AAAI 2023, algorithm 1.

    Queries per iteration:
        ``batch_size * clone_training.steps``; generator and replay phases are free.

    Deviations:
        Bought batches set aside for selection (``clone_training.heldout_every``, 0.7 % of the queries by default).
        The rates drop at the milestone itself, not at the end of the epoch around it.
    """

    def __init__(
        self,
        threat_model: ThreatModel,
        clone_training: CloneTraining = CloneTraining(),
        generator_training: GeneratorTraining = GeneratorTraining(),
        replay: ReplaySettings = ReplaySettings(),
        schedule: Schedule = Schedule(),
        batch_size: int = 256,
        diversity_weight: float = 0.2,
        grayscale_fraction: float = 0.125,
        clone_optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.03, momentum=0.9, weight_decay=5e-4, fused=True),
        generator_optimizer: OptimizerCallable = lambda p: Adam(p, lr=1e-4, fused=True),
        accuracy_goals: Sequence[float] = (),
    ) -> None:
        """Sets up clones and generator.

        Args:
            threat_model: What the attacker may do and knows.
            clone_training: How the clones learn from bought answers.
            generator_training: The generator and its share of an iteration.
            replay: Experience replay of bought answers.
            schedule: Learning rates of clones and generator over the budget.
            batch_size: Samples in a batch, over all processes; 256 in the paper, section 4.
            diversity_weight: The paper's lambda: 0.2 for 10 classes, 0.04 for 100 (section 4).
            grayscale_fraction: Share of the generated images made gray, 1/8 in the paper; 0 for one channel.
            clone_optimizer: SGD with the official script's rate 0.03 (the paper's "0.3" multiplies DFME's 0.1).
            generator_optimizer: Adam with rate 1e-4, without the weight decay that the paper names but its code lacks.
            accuracy_goals: Accuracies for which the number of queries at the first reach is reported (Table 2).
        """
        super().__init__(
            threat_model, clone_training, replay, schedule, batch_size, clone_optimizer, accuracy_goals,
            generator_training, generator_optimizer,
        )  # fmt: skip
        self.diversity_weight = diversity_weight
        self.grayscale_fraction = grayscale_fraction
        self._check_generator()

    def generator_loss(self, pre_activation: Tensor) -> Tensor:
        """Small for images that split the clones and cover the classes."""
        return disguide_generator_loss(self.clone_logits(self.to_images(pre_activation)), self.diversity_weight)

    @torch.no_grad()
    def make_queries(self, count: int) -> Tensor:
        """Fresh samples by running statistics, as in the official code."""
        self.generator.eval()
        return self.to_images(self.generator.pre_activation(self.latents(count)))

    def to_images(self, pre_activation: Tensor) -> Tensor:
        """Images in (-1, 1), some of the global batch gray: ``(B, C, H, W)`` to the same shape."""
        channel = self.draws.python.randrange(self.threat_model.channels)
        offset = len(pre_activation) * self.draws.rank
        return grayscale(pre_activation.tanh(), self.grayscale_fraction, channel, offset)

    def _check_generator(self) -> None:
        if self.clone_training.count < 2:
            raise InputError(
                f"clone_training.count is {self.clone_training.count}; disagreement needs at least 2 clones"
            )
        if not self.diversity_weight >= 0:
            raise InputError(f"diversity_weight is {self.diversity_weight}; give a number that is not negative")
        if not 0 <= self.grayscale_fraction <= 1:
            raise InputError(f"grayscale_fraction is {self.grayscale_fraction}; give a share between 0 and 1")
        if self.grayscale_fraction and self.threat_model.channels == 1:
            raise InputError(
                f"grayscale_fraction is {self.grayscale_fraction}, but images have one channel; set it to 0"
            )
