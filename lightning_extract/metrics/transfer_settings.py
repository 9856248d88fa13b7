"""Which evasion attacks a transferability is measured under."""

from dataclasses import dataclass
from math import inf
from typing import get_args

from lightning_extract.errors import InputError
from lightning_extract.metrics.evasion import Evasion, EvasionName, Norm

# The threat models for CIFAR-10 of RobustBench (Croce et al., NeurIPS 2021 Datasets and Benchmarks).
USUAL_EPSILON: dict[Norm, float] = {"inf": 8 / 255, 2: 0.5}
# Madry et al., ICLR 2018: steps that sum to 2.5 epsilon reach the boundary from every start and move along it.
STEP_SUM = 2.5


@dataclass(frozen=True)
class TransferSettings:
    """Which evasion attacks are crafted on the clone and judged by the victim.

    Args:
        attacks: Any of fgsm, bim and pgd; none measures no transferability.
        epsilons: Largest perturbations, in pixels in [0, 1], each tried with each attack; RobustBench's for CIFAR-10
            when none is given, 8/255 for norm inf and 0.5 for norm 2. Usual for MNIST is 0.3 in norm inf (Madry et
            al., ICLR 2018).
        norm: In which a perturbation is measured, inf or 2.
        targeted: Whether the victim shall give a certain wrong class, drawn uniformly for each image, or any.
        steps: Gradient steps of bim and pgd; 10 is Kurakin et al.'s rule, min(e + 4, 1.25 e), for e = 8 of 255.
        step_size: Size of one step of bim and pgd as a share of epsilon; 2.5 / steps, at most 1, when not given.
        restarts: Random starts of pgd; the first that fools the clone is kept.
        samples: Number of test images, drawn by the seed from those that the victim classifies correctly; 0 takes all.
        batch_size: Images crafted at a time by a process; each batch has its own random starts and noise.
        seed: Of the images, targets, random starts and noise, a whole number from 0.

    Raises:
        InputError: A number is out of its range.
    """

    attacks: tuple[EvasionName, ...] = ()
    epsilons: tuple[float, ...] = ()
    norm: Norm = "inf"
    targeted: bool = False
    steps: int = 10
    step_size: float | None = None
    restarts: int = 1
    samples: int = 1000
    batch_size: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, values, known in (
            ("attacks", self.attacks, get_args(EvasionName)),
            ("norm", (self.norm,), get_args(Norm)),
        ):
            for value in values:
                if value not in known:
                    raise InputError(f"transfer.{name} has {value!r}; give one of {', '.join(map(str, known))}")
        if not all(0 < epsilon < inf for epsilon in self.epsilons):
            raise InputError(f"transfer.epsilons are {list(self.epsilons)}; give sizes above 0, in pixels in [0, 1]")
        if self.norm == "inf" and any(epsilon > 1 for epsilon in self.epsilons):
            raise InputError(
                f"transfer.epsilons are {list(self.epsilons)}; in norm inf give at most 1, since pixels lie in [0, 1] "
                "(8 of 255 is 0.031)"
            )
        for name, least in (("steps", 1), ("restarts", 1), ("samples", 0), ("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"transfer.{name} is {getattr(self, name)}; give a whole number from {least}")
        if self.step_size is not None and not 0 < self.step_size <= 1:
            raise InputError(f"transfer.step_size is {self.step_size}; give a share of epsilon above 0 and up to 1")

    def evasions(self) -> list[Evasion]:
        """Every attack with every epsilon; ``fgsm`` is one whole step, and only ``pgd`` starts at random."""
        step_size = min(1.0, STEP_SUM / self.steps) if self.step_size is None else self.step_size
        return [
            Evasion(
                name=name,
                norm=self.norm,
                epsilon=epsilon,
                targeted=self.targeted,
                steps=1 if name == "fgsm" else self.steps,
                step_size=1.0 if name == "fgsm" else step_size,
                restarts=self.restarts if name == "pgd" else 1,
            )
            for name in self.attacks
            for epsilon in self.epsilons or (USUAL_EPSILON[self.norm],)
        ]
