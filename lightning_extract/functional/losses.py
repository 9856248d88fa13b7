"""Losses of the clones and of the generators, as pure functions of tensors."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from .distributed import global_mean
from .logits import PROBABILITY_FLOOR, recover_logits, soft_vote

SoftLoss = Literal["l1", "kl", "cross_entropy"]


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


def mean_prediction_entropy_loss(clone_logits: Tensor, offset: float = 1e-5) -> Tensor:
    """Negative entropy (nats) of the class distribution averaged over clones and the global batch, as DFMS has it.

    ``sum_k a_k log(a_k + offset)``: the offset is inside the logarithm only, whereas :func:`class_diversity_loss`
    adds it to every probability, hence also outside. The batch mean is taken over all processes.

    Reference:
        Sanyal et al., DFMS, CVPR 2022, diversity loss.

    Args:
        clone_logits: Logits of each clone; DFMS has one.
        offset: Added in the logarithm; 1e-5 is the official code's. With 0, a class of no probability gives NaN.

    Shape:
        ``(S, B, K)`` to a scalar, about ``[-ln K, 0]``.
    """
    mean_probabilities = global_mean(soft_vote(clone_logits))
    return (mean_probabilities * (mean_probabilities + offset).log()).sum()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """What a discriminator minimises: cross-entropy for calling real samples real, plus that for fake ones fake.

    Each is the mean over its samples, so the two batches may differ in size.

    Reference:
        Goodfellow et al., Generative Adversarial Nets, NeurIPS 2014, equation 1, negated.

    Args:
        real_logits: The discriminator's answers to real samples, before the sigmoid.
        fake_logits: Those to generated samples.

    Shape:
        ``(A,)``, ``(B,)`` to a scalar.
    """
    return _binary_cross_entropy(real_logits, 1.0) + _binary_cross_entropy(fake_logits, 0.0)


def adversarial_loss(fake_logits: Tensor) -> Tensor:
    """What a generator minimises against a discriminator: cross-entropy for its samples being called real.

    This is the non-saturating form, whose gradient does not vanish where the discriminator is sure.

    Reference:
        Goodfellow et al., Generative Adversarial Nets, NeurIPS 2014, section 3; Radford et al., DCGAN, ICLR 2016.

    Args:
        fake_logits: The discriminator's answers to generated samples, before the sigmoid.

    Shape:
        ``(B,)`` to a scalar.
    """
    return _binary_cross_entropy(fake_logits, 1.0)


def _binary_cross_entropy(logits: Tensor, target: float) -> Tensor:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def pairwise_disagreement_loss(clone_logits: Tensor) -> Tensor:
    """What Dual Students' generator minimises: minus the mean absolute logit difference, over all pairs of clones.

    Reference:
        Beetham et al., Dual Students, ICLR 2023; for more than two students the official code averages over pairs.

    Args:
        clone_logits: Logits of each clone.

    Shape:
        ``(S, B, K)`` to a scalar, S >= 2.

    Example:
        >>> pairwise_disagreement_loss(torch.tensor([[[1.0, 0.0, -1.0], [0.0, 2.0, 1.0]], [[0.0] * 3, [1.0] * 3]]))
        tensor(-0.6667)
    """
    logits = clone_logits.to(torch.promote_types(clone_logits.dtype, torch.float32))
    first, second = torch.triu_indices(len(logits), len(logits), offset=1, device=logits.device)
    return -(logits[first] - logits[second]).abs().mean()


def logit_distance(clone_logits: Tensor, victim_probabilities: Tensor) -> Tensor:
    """Mean absolute difference to the victim's recovered logits, over classes.

    The clone's logits are compared as they are, without centring.

    Reference:
        Truong et al., DFME, CVPR 2021, section 4 (official code: mean, not sum, over classes).

    Shape:
        ``(..., B, K)``, ``(B, K)`` to ``(..., B)``.
    """
    return (clone_logits - recover_logits(victim_probabilities)).abs().mean(dim=-1)


def kl_distance(clone_logits: Tensor, victim_probabilities: Tensor) -> Tensor:
    """``KL(victim || clone)`` in nats.

    Reference:
        Truong et al., DFME, CVPR 2021, section 4; Kariyappa et al., MAZE, CVPR 2021, equation 3.

    Shape:
        ``(..., B, K)``, ``(B, K)`` to ``(..., B)``.
    """
    log_ratio = victim_probabilities.clamp_min(PROBABILITY_FLOOR).log() - clone_logits.log_softmax(dim=-1)
    return (victim_probabilities * log_ratio).sum(dim=-1)


def recovered_logit_loss(clone_logits: Tensor, victim_probabilities: Tensor) -> Tensor:
    """Mean of :func:`logit_distance` over samples: ``(B, K)``, ``(B, K)`` to a scalar; ``l1`` in the official codes."""
    return logit_distance(clone_logits, victim_probabilities).mean()


def distillation_loss(clone_logits: Tensor, victim_probabilities: Tensor, temperature: float = 1.0) -> Tensor:
    """``T^2 KL(victim || clone)`` of both sides softened by a temperature, mean over samples.

    The victim's softened answer needs no logits: it is its probabilities to the power 1 / T, normalised.

    Reference:
        Hinton et al., Distilling the Knowledge in a Neural Network, 2015; DFME's surrogate study takes T = 1, 3, 5.

    Args:
        clone_logits: The clone's answers.
        victim_probabilities: The victim's answers.
        temperature: T; at 1 the loss is the mean of :func:`kl_distance`.

    Shape:
        ``(B, K)``, ``(B, K)`` to a scalar.
    """
    softened = victim_probabilities
    if temperature != 1:
        softened = (recover_logits(victim_probabilities) / temperature).softmax(dim=-1)
    return temperature**2 * kl_distance(clone_logits / temperature, softened).mean()


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


def answer_loss(clone_logits: Tensor, answers: Tensor, soft_loss: SoftLoss, temperature: float = 1.0) -> Tensor:
    """What a clone minimises, for either access.

    Args:
        clone_logits: Logits of one clone.
        answers: The victim's labels, or its probabilities.
        soft_loss: Loss against probabilities: of recovered logits (l1), or either form of the cross-entropy.
        temperature: Softens both sides of kl.

    Shape:
        ``(B, K)`` and ``(B,)`` or ``(B, K)`` to a scalar.
    """
    if answers.ndim == 1:
        return hard_cross_entropy(clone_logits, answers)
    answers = answers.to(torch.promote_types(clone_logits.dtype, torch.float32))
    if soft_loss == "kl":
        return distillation_loss(clone_logits, answers, temperature)
    return (recovered_logit_loss if soft_loss == "l1" else soft_cross_entropy)(clone_logits, answers)
