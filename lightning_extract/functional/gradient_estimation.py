"""Gradients of a black box from differences of its values."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def forward_differences(
    values: Callable[[Tensor], Tensor], points: Tensor, base: Tensor, directions: Iterable[Tensor], epsilon: float
) -> Tensor:
    """Estimates the gradient of each sample's value by forward differences along random directions.

    ``g = d / (m epsilon) sum_j [l(x + epsilon u_j) - l(x)] u_j`` for d dimensions and m directions. ``values`` sees
    m whole batches, so that no batch size or m leaves an incomplete chunk.

    Reference:
        Truong et al., DFME, CVPR 2021, section 4, with the factor d of the official code, without which the estimate
        shrinks by it; Kariyappa et al., MAZE, CVPR 2021, section 4.

    Args:
        values: The black box: ``(B, ...)`` to one value a sample ``(B,)``.
        points: Where the gradient is wanted.
        base: The values there.
        directions: m batches of directions of length 1, each of the points' shape.
        epsilon: Step along a direction, in the points' units.

    Shape:
        points ``(B, ...)``, base ``(B,)``; returns ``(B, ...)``.
    """
    total, count = torch.zeros_like(points), 0
    for direction in directions:
        difference = values(points + epsilon * direction) - base
        total += difference.view(-1, *[1] * (points.ndim - 1)) * direction
        count += 1
    return total * (points[0].numel() / (count * epsilon))


def gradient_carrier(points: Tensor, gradient: Tensor) -> Tensor:
    """A scalar that is zero and whose gradient with respect to ``points`` is the given one, of the same shape."""
    product = (points * gradient).sum()
    return product - product.detach()


def distance_to_black_box(
    images: Tensor,
    clone: Callable[[Tensor], Tensor],
    victim: Callable[[Tensor], Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
    directions: Iterable[Tensor],
    epsilon: float,
    exact_clone: bool = False,
) -> Tensor:
    """Mean distance of clones and victim, whose gradient to the images is estimated from the victim's answers.

    Args:
        images: Points with a gradient, whatever space they are in.
        clone: From points to logits ``(S, B, K)``.
        victim: From points to bought answers ``(B, K)``; asked for ``m + 1`` batches, those at the images first.
        distance: From logits and answers to ``(S, B)``.
        directions: m batches of directions of length 1.
        epsilon: Step along a direction.
        exact_clone: Whether the clones' share of the gradient is back-propagated and the victim's alone estimated.

    Shape:
        ``(B, ...)`` to a scalar.
    """
    points = images.detach()
    answers = victim(points)
    logits = clone(images if exact_clone else points)
    base = distance(logits, answers).mean(dim=0)

    def value(perturbed: Tensor) -> Tensor:
        there = logits if exact_clone else clone(perturbed)
        return distance(there, victim(perturbed)).mean(dim=0)

    with torch.no_grad():
        gradient = forward_differences(value, points, base, directions, epsilon)
    return base.mean() + gradient_carrier(images, gradient / len(points))
