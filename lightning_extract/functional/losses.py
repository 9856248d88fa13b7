"""Losses of the clones and of the generators, as pure functions of tensors."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, l1_loss

from .distributed import global_mean
from .logits import recover_logits


def disagreement_loss(probabilities: Tensor) -> Tensor:
    """Minus the mean standard deviation over the clones, with Bessel's correction.

    For two clones the deviation of a class is ``|p1 - p2| / sqrt(2)``.

    Reference:
        Rosenthal et al., DisGUIDE, AAAI 2023, equation 2; the correction is the official code's.

    Args:
        probabilities: Class probabilities of each clone.

    Shape:
        ``(S, B, K)`` to a scalar in ``[-sqrt(S) / K, 0]``, S >= 2.
    """
    variance = probabilities.var(dim=0)
    # Saturated clones differ by less than float32 can square; the gradient of torch.std there is infinite times zero.
    tiny = torch.finfo(variance.dtype).tiny
    deviation = variance.clamp_min(tiny).sqrt() * (variance > tiny)
    return -deviation.mean()


def class_diversity_loss(probabilities: Tensor, offset: float = 1e-6) -> Tensor:
    """Negative entropy (nats) of the class distribution averaged over clones and the global batch.

    The batch mean is taken over all processes: the entropy of a mean is no mean of entropies.

    Reference:
        Rosenthal et al., DisGUIDE, AAAI 2023, equations 3 and 4.

    Args:
        probabilities: Class probabilities of each clone.
        offset: Added to every probability before averaging; 1e-6 is the official code's.

    Shape:
        ``(S, B, K)`` to a scalar, about ``[-ln K, 0]``.
    """
    mean_probabilities = global_mean((probabilities + offset).mean(dim=0))
    return (mean_probabilities * mean_probabilities.log()).sum()


def disguide_generator_loss(clone_logits: Tensor, diversity_weight: float) -> Tensor:
    """What DisGUIDE's generator minimises: disagreement of the clones plus weighted class diversity.

    Reference:
        Rosenthal et al., DisGUIDE, AAAI 2023, equation 1.

    Args:
        clone_logits: Logits of each clone.
        diversity_weight: The paper's lambda.

    Shape:
        ``(S, B, K)`` to a scalar.
    """
    # Autocast leaves softmax in half precision on CPUs, where the offset of the diversity loss would vanish.
    probabilities = clone_logits.to(torch.promote_types(clone_logits.dtype, torch.float32)).softmax(dim=-1)
    return disagreement_loss(probabilities) + diversity_weight * class_diversity_loss(probabilities)


def recovered_logit_loss(clone_logits: Tensor, victim_probabilities: Tensor) -> Tensor:
    """Mean absolute difference to the victim's recovered logits, over samples and classes.

    The clone's logits are compared as they are, without centring.

    Reference:
        Truong et al., DFME, CVPR 2021 (official code: mean, not sum, over classes); DisGUIDE's ``l1``.

    Shape:
        ``(B, K)``, ``(B, K)`` to a scalar.
    """
    return l1_loss(clone_logits, recover_logits(victim_probabilities))


def soft_cross_entropy(clone_logits: Tensor, victim_probabilities: Tensor) -> Tensor:
    """Cross-entropy with the victim's probabilities, mean over samples.

    Reference:
        Rosenthal et al., DisGUIDE, AAAI 2023, section 3.2 (the clone loss in the paper's words).

    Shape:
        ``(B, K)``, ``(B, K)`` to a scalar.
    """
    return cross_entropy(clone_logits, victim_probabilities)


def hard_cross_entropy(clone_logits: Tensor, victim_labels: Tensor) -> Tensor:
    """Cross-entropy with the victim's labels, mean over samples: ``(B, K)``, ``(B,)`` to a scalar."""
    return cross_entropy(clone_logits, victim_labels)
