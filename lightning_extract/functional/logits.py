"""From the victim's probabilities back to something a clone's logits can be compared with."""

import torch
from torch import Tensor

# Float32 softmax underflows to 0 near 1e-45; the floor keeps one such class from dominating the class mean.
PROBABILITY_FLOOR = 1e-30


def recover_logits(probabilities: Tensor) -> Tensor:
    """Logits that give these probabilities, with the mean over classes set to zero.

    A softmax answer fixes the logits up to one constant a sample; the mean correction chooses it.

    Reference:
        Truong et al., Data-Free Model Extraction, CVPR 2021, section on recovering logits.

    Args:
        probabilities: The victim's answers, rows sum to one.

    Shape:
        ``(B, K)`` to ``(B, K)``.

    Example:
        >>> recover_logits(torch.tensor([[2.0, 0.0, -1.0]]).softmax(dim=1))
        tensor([[ 1.6667, -0.3333, -1.3333]])
    """
    log_probabilities = probabilities.clamp_min(PROBABILITY_FLOOR).log()
    return log_probabilities - log_probabilities.mean(dim=1, keepdim=True)


def soft_vote(logits: Tensor) -> Tensor:
    """Mean of the members' class probabilities: ``(S, B, K)`` logits to ``(B, K)`` probabilities.

    Computed in float32 at least, since half precision cannot hold small probabilities.
    """
    at_least_float32 = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(at_least_float32).softmax(dim=-1).mean(dim=0)
