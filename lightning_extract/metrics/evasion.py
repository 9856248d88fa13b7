"""Evasion attacks on a classifier, crafted by the Adversarial Robustness Toolbox (ART)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from lightning_extract.errors import InputError
from lightning_extract.functional.logits import PROBABILITY_FLOOR

EvasionName = Literal["fgsm", "bim", "pgd"]
Norm = Literal["inf", 2]
Classifier = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Evasion:
    """One evasion attack and all that decides it.

    Reference:
        ``fgsm``: Goodfellow et al., ICLR 2015. ``bim``: Kurakin et al., ICLR 2017 workshop. ``pgd``: Madry et al.,
        ICLR 2018; here ``bim`` from random starts in the ball. In norm 2 a step follows the normalised gradient.

    Args:
        name: The attack.
        norm: In which the perturbation is measured.
        epsilon: Its largest size, pixels in [0, 1].
        targeted: Whether the image shall get a given class, or any but its own.
        steps: Gradient steps.
        step_size: Size of a step as a share of epsilon.
        restarts: Random starts of an image that does not yet fool the classifier.
    """

    name: EvasionName
    norm: Norm
    epsilon: float
    targeted: bool
    steps: int
    step_size: float
    restarts: int


def fools(answers: Tensor, classes: Tensor, targeted: bool) -> Tensor:
    """Whether each answer ``(B, K)`` is the target class ``(B,)``, or untargeted another than the own class."""
    return (answers.argmax(dim=1) == classes) == targeted


def require_toolbox() -> None:
    """Looks for the toolbox, which is imported only where it is needed.

    Raises:
        InputError: It is not installed.
    """
    try:
        import art.attacks.evasion
        import art.estimators.classification  # noqa: F401
    except ImportError as error:  # also from an unrelated package called art
        raise InputError(
            "transfer.attacks need the Adversarial Robustness Toolbox, which is not installed; "
            "run pip install -e '.[transfer]'"
        ) from error


class EvasionCrafter:
    """Crafts adversarial images with white-box access to a classifier.

    Args:
        classifier: Images ``(B, C, H, W)`` in [-1, 1] to class probabilities ``(B, K)``, with gradients.
        image_shape: Channels, height and width.
        num_classes: K.
        device: Where the classifier computes.
    """

    def __init__(
        self, classifier: Classifier, image_shape: Sequence[int], num_classes: int, device: torch.device
    ) -> None:
        from art.estimators.classification import PyTorchClassifier

        self.classifier, self.num_classes, self.device = classifier, num_classes, device
        self._estimator = PyTorchClassifier(
            _LogProbabilities(classifier),
            nn.CrossEntropyLoss(),
            input_shape=tuple(image_shape),
            nb_classes=num_classes,
            clip_values=(0.0, 1.0),
            device_type="cpu" if device.type == "cpu" else "gpu",
        )

    def craft(self, evasion: Evasion, images: Tensor, classes: Tensor, seed: Sequence[int]) -> Tensor:
        """Images as close as the attack may go, on which it raises the loss of a class or lowers that of a target.

        Args:
            evasion: The attack.
            images: Pixels in [-1, 1].
            classes: The images' own classes, or their targets.
            seed: Of the random starts.

        Shape:
            ``(B, C, H, W)``, ``(B,)`` to ``(B, C, H, W)``.
        """
        crafted = images.clone()
        unfooled = torch.ones_like(classes, dtype=torch.bool)
        with _numpy_seed(seed):
            for restart in range(evasion.restarts):
                if restart:  # by the classes given: the toolbox's own restarts compare with the clean image's answer
                    with torch.no_grad():
                        unfooled = ~fools(self.classifier(crafted), classes, evasion.targeted)
                if unfooled.any():
                    crafted[unfooled] = self._generate(evasion, images[unfooled], classes[unfooled])
        return crafted

    def _generate(self, evasion: Evasion, images: Tensor, classes: Tensor) -> Tensor:
        pixels = ((images + 1) / 2).cpu().numpy()
        labels = one_hot(classes, self.num_classes).float().cpu().numpy()
        found = self._attack(evasion, len(images)).generate(pixels, labels)
        return 2 * torch.from_numpy(found).to(self.device).clamp(0, 1) - 1

    def _attack(self, evasion: Evasion, batch_size: int) -> Any:
        from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch

        shared = {
            "estimator": self._estimator,
            "norm": inf if evasion.norm == "inf" else 2,
            "eps": evasion.epsilon,
            "targeted": evasion.targeted,
            "batch_size": batch_size,
        }
        if evasion.name == "fgsm":
            return FastGradientMethod(**shared)
        return ProjectedGradientDescentPyTorch(
            **shared,
            eps_step=evasion.step_size * evasion.epsilon,
            max_iter=evasion.steps,
            num_random_init=int(evasion.name == "pgd"),
            verbose=False,
        )


class _LogProbabilities(nn.Module):
    """What the toolbox differentiates: pixels in [0, 1] to log-probabilities, which it takes for logits."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, pixels: Tensor) -> Tensor:
        return self.classifier(2 * pixels - 1).float().clamp_min(PROBABILITY_FLOOR).log()


@contextmanager
def _numpy_seed(seed: Sequence[int]) -> Iterator[None]:
    """The toolbox draws its random starts from numpy's global generator."""
    before = np.random.get_state()
    np.random.seed(np.random.SeedSequence(seed).generate_state(4))
    try:
        yield
    finally:
        np.random.set_state(before)
