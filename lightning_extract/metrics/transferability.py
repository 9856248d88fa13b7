"""How far adversarial images carry over from a clone to its victim."""

import torch
from scipy.stats import binomtest
from torch import Tensor
from torchmetrics import Metric

from lightning_extract.metrics.evasion import fools


class Transferability(Metric):
    """Success rate of adversarial images that were crafted on the clone and are judged by the victim.

    ``rate`` is ``s / n``: of ``n`` images the victim is fooled by ``s``, which is to give the target class, or
    untargeted any class but the image's own. ``interval`` is Wilson's for 95 % confidence,
    ``(p + z^2 / 2n ± z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)`` with ``p = s / n`` and ``z = 1.96``.
    Two controls stand beside it: ``clone_rate``, the success on the clone itself (white box), and ``noise_rate``, that
    of random noise of equal size on the victim. Attacks that do no better than noise have transferred nothing.

    Args:
        targeted: Whether ``classes`` are targets.

    Shape:
        update: answers ``(B, K)`` of victim and clone to the adversarial images and of the victim to the noisy ones,
        classes ``(B,)``; compute: counts, rates and the interval as plain numbers.

    Example:
        >>> transferability = Transferability(targeted=False)
        >>> answers = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
        >>> clean = torch.tensor([[1.0, 0.0]]).expand(4, 2)
        >>> transferability.update(answers, answers, clean, torch.tensor([0, 0, 0, 0]))
        >>> found = transferability.compute()
        >>> found["samples"], found["successes"], found["rate"], found["clone_rate"], found["noise_rate"]
        (4, 2, 0.5, 0.5, 0.0)
        >>> [round(end, 4) for end in found["interval"]]
        [0.15, 0.85]
    """

    full_state_update = False
    samples: Tensor
    successes: Tensor
    clone_successes: Tensor
    noise_successes: Tensor

    def __init__(self, targeted: bool) -> None:
        super().__init__()
        self.targeted = targeted
        for name in ("samples", "successes", "clone_successes", "noise_successes"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, victim: Tensor, clone: Tensor, noise: Tensor, classes: Tensor) -> None:
        """Adds a batch."""
        self.samples += len(classes)
        self.successes += fools(victim, classes, self.targeted).sum()
        self.clone_successes += fools(clone, classes, self.targeted).sum()
        self.noise_successes += fools(noise, classes, self.targeted).sum()

    def compute(self) -> dict[str, int | float | list[float]]:
        """The numbers over all samples of all processes."""
        samples, successes = int(self.samples), int(self.successes)
        interval = binomtest(successes, samples).proportion_ci(confidence_level=0.95, method="wilson")
        return {
            "samples": samples,
            "successes": successes,
            "rate": successes / samples,
            "interval": [float(interval.low), float(interval.high)],
            "clone_rate": int(self.clone_successes) / samples,
            "noise_rate": int(self.noise_successes) / samples,
        }
