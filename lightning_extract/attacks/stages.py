"""Settings of DFMS's stages, each one block of a config."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from lightning.pytorch.cli import OptimizerCallable

from lightning_extract.attacks.settings import Schedule
from lightning_extract.data.mixture import Mixture
from lightning_extract.errors import InputError

StageName = Literal["gan", "clone_init", "diversity", "clone_reinit", "alternating"]
COSINE, WARM_COSINE = Schedule(shape="cosine"), Schedule(shape="cosine", warmup=0.025)
STAGES: tuple[StageName, ...] = get_args(StageName)


@dataclass(frozen=True)
class GanStage:
    """The generator learns to draw proxy images, without a query.

    Args:
        iterations: Batches; 62,500 are the official code's 200 passes over 20,000 proxy images in batches of 64; 0
            skips the stage.
        generator_optimizer: The generator's here; the attack's own when not given.
        discriminator_optimizer: The discriminator's here; the attack's own when not given.
    """

    adversarial_weight: ClassVar[float] = 1.0
    diversity_weight: ClassVar[float] = 0.0

    iterations: int = 62_500
    generator_optimizer: OptimizerCallable | None = None
    discriminator_optimizer: OptimizerCallable | None = None

    def __post_init__(self) -> None:
        _refuse_negative("gan", iterations=self.iterations)

    def trains(self, network: str) -> bool:
        """Whether the stage trains one of clones, generator and discriminator."""
        return network != "clones"


@dataclass(frozen=True)
class CloneStage:
    """A clone learns from scratch what the victim says of proxy and generated images, which are bought once.

    Args:
        epochs: Passes over the smaller source; 200 in the official code; 0 skips the stage with its purchases.
        set_size: What the two ratios are shares of; 50,000 in the official code.
        proxy_ratio: Proxy images bought, as a share of set_size and no more than there are; official code: 1.0 for the
            40 and the 10 classes, which takes all of their 20,000 and 5,000, and 0.5 for synthetic images.
        generated_ratio: Generated images bought, as a share of set_size; official code: 0.5, for the 10 classes 0.8.
        batch_size: What the ratios are shares of in a batch; 128 in the official code, so that a batch of the
            40-class pool holds 128 proxy and 64 generated images.
        validation_size: Generated images bought to select by, never trained on; 20,000 in the official code; 0 hands on
            the last weights instead.
        schedule: Learning rate over the stage's training; half a cosine in the official code.
        clone_optimizer: The clones' here; the attack's own when not given.
    """

    epochs: int = 200
    set_size: int = 50_000
    proxy_ratio: float = 1.0
    generated_ratio: float = 0.5
    batch_size: int = 128
    validation_size: int = 20_000
    schedule: Schedule = COSINE
    clone_optimizer: OptimizerCallable | None = None

    def __post_init__(self) -> None:
        _refuse_negative("clone_init and clone_reinit", epochs=self.epochs, validation_size=self.validation_size)
        if self.set_size < 1 or self.batch_size < 1:
            raise InputError(
                f"a clone stage has set_size {self.set_size:,} and batch_size {self.batch_size}; give at least 1"
            )
        for name, ratio in (("proxy_ratio", self.proxy_ratio), ("generated_ratio", self.generated_ratio)):
            if not 0 <= ratio <= 1:
                raise InputError(f"{name} is {ratio}; give a share of set_size between 0 and 1")
            if ratio and not (int(ratio * self.set_size) and int(ratio * self.batch_size)):
                raise InputError(
                    f"{name} {ratio} of set_size {self.set_size:,} or of batch_size {self.batch_size} is not one "
                    "image; raise it, or set it to 0"
                )
        if self.proxy_ratio == self.generated_ratio == 0:
            raise InputError("proxy_ratio and generated_ratio are both 0, which leaves nothing to learn; raise one")

    def trains(self, network: str) -> bool:
        """Whether the stage trains one of clones, generator and discriminator."""
        return network == "clones"

    def mixture(self, proxy_images: int) -> Mixture:
        """What is bought for training, with so many proxy images at hand."""
        return Mixture(
            proxy=min(proxy_images, int(self.proxy_ratio * self.set_size)),
            generated=int(self.generated_ratio * self.set_size),
            proxy_batch=int(self.proxy_ratio * self.batch_size),
            generated_batch=int(self.generated_ratio * self.batch_size),
        )


@dataclass(frozen=True)
class DiversityStage:
    """The generator learns to cover the classes of the frozen clone, against a new discriminator, without a query.

    Args:
        iterations: Batches; 31,250 are the official code's 100 passes over 20,000 proxy images; 0 skips the stage.
        adversarial_weight: Weight of looking like proxy images, 1 in the paper; 0 goes without a discriminator.
        diversity_weight: The paper's lambda_div; 10 in the official code.
        generator_optimizer: The generator's here; the attack's own when not given.
        discriminator_optimizer: The discriminator's here; the attack's own when not given.
    """

    iterations: int = 31_250
    adversarial_weight: float = 1.0
    diversity_weight: float = 10.0
    generator_optimizer: OptimizerCallable | None = None
    discriminator_optimizer: OptimizerCallable | None = None

    def __post_init__(self) -> None:
        weights = {"adversarial_weight": self.adversarial_weight, "diversity_weight": self.diversity_weight}
        _refuse_negative("diversity", iterations=self.iterations, **weights)
        _refuse_no_loss("diversity", weights)

    def trains(self, network: str) -> bool:
        """Whether the stage trains one of clones, generator and discriminator."""
        return network == "generator" or (network == "discriminator" and self.adversarial_weight > 0)


@dataclass(frozen=True)
class AlternatingStage:
    """Clone, generator and a new discriminator take turns; this stage spends what the others leave of the budget.

    Args:
        iterations: Batches: as many as the budget pays, or at most this number; 0 skips the stage.
        adversarial_weight: Weight of looking like proxy images, 1 in the paper; 0 goes without a discriminator.
        diversity_weight: The paper's lambda_div; 500 for CIFAR-10, 100 for CIFAR-100.
        schedule: Learning rate of the clones over the stage; official code: a warm-up of 10 of 400 passes, then half a
            cosine.
        clone_optimizer: The clones' here; the attack's alternating_clone_optimizer when not given.
        generator_optimizer: The generator's here; the attack's own when not given.
        discriminator_optimizer: The discriminator's here; the attack's own when not given.
    """

    iterations: int | Literal["budget"] = "budget"
    adversarial_weight: float = 1.0
    diversity_weight: float = 500.0
    schedule: Schedule = WARM_COSINE
    clone_optimizer: OptimizerCallable | None = None
    generator_optimizer: OptimizerCallable | None = None
    discriminator_optimizer: OptimizerCallable | None = None

    def __post_init__(self) -> None:
        weights = {"adversarial_weight": self.adversarial_weight, "diversity_weight": self.diversity_weight}
        iterations = 0 if self.iterations == "budget" else self.iterations
        _refuse_negative("alternating", iterations=iterations, **weights)
        _refuse_no_loss("alternating", weights)

    def trains(self, network: str) -> bool:
        """Whether the stage trains one of clones, generator and discriminator."""
        return network != "discriminator" or self.adversarial_weight > 0


GeneratorStage = GanStage | DiversityStage | AlternatingStage
Settings = GeneratorStage | CloneStage


@dataclass(frozen=True)
class EarlierStages:
    """Another run whose first stages this run takes over instead of doing them.

    Args:
        run: Its run folder; empty to do all stages.
        through: The last stage that is taken over, with the generator, the clones and the validation answers as they
            were at its end; its queries are reported beside this run's, not charged to its budget.
    """

    run: str = ""
    through: Literal["gan", "clone_init", "diversity", "clone_reinit"] = "gan"


@dataclass(frozen=True)
class Stages:
    """The stages of DFMS in their order.

    Args:
        gan: The generator learns to draw proxy images.
        clone_init: The clone is initialised.
        diversity: The generator learns to cover the clone's classes.
        clone_reinit: The clone is initialised anew, on images of the better generator.
        alternating: Clone and generator take turns until the budget is spent.
        earlier: Another run whose first stages are taken over.
    """

    gan: GanStage = field(default_factory=GanStage)
    clone_init: CloneStage = field(default_factory=CloneStage)
    diversity: DiversityStage = field(default_factory=DiversityStage)
    clone_reinit: CloneStage = field(default_factory=CloneStage)
    alternating: AlternatingStage = field(default_factory=AlternatingStage)
    earlier: EarlierStages = field(default_factory=EarlierStages)

    def own(self) -> dict[StageName, Settings]:
        """The settings of the stages that are not taken over from another run."""
        first = STAGES.index(self.earlier.through) + 1 if self.earlier.run else 0
        return {name: getattr(self, name) for name in STAGES[first:]}


def _refuse_negative(stage: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise InputError(f"{stage}: {name} is {value}; give 0 or more")


def _refuse_no_loss(stage: str, weights: dict[str, float]) -> None:
    if not any(weights.values()):
        raise InputError(
            f"{stage}: {' and '.join(weights)} are 0, which leaves the generator nothing to learn; raise one, or set "
            "iterations to 0"
        )
