from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_extract.functional.gradient_estimation import (
    distance_to_black_box,
    forward_differences,
    gradient_carrier,
)
from lightning_extract.functional.losses import kl_distance, logit_distance
from tests.parity_arrays import parity_arrays

Function = Callable[[Tensor], Tensor]
POINTS = torch.tensor([[0.1, 0.2, 0.3, 0.4], [-0.1, 0.2, -0.3, 0.4], [0.5, -0.5, 0.25, -0.25]]).view(3, 1, 2, 2)


def unit(count: int, like: Tensor, seed: int = 0) -> Iterator[Tensor]:
    """Batches of directions of length 1."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        normal = torch.randn(like.shape, generator=generator, dtype=like.dtype)
        yield normal / normal.flatten(1).norm(dim=1).view(-1, *[1] * (like.ndim - 1))


def linear(weight: Tensor, bias: Tensor | float = 0.0) -> Function:
    """Logits of a linear network behind a tanh."""
    return lambda points: points.tanh().flatten(1) @ weight + bias


def gradient_of(images: Tensor, clone: Function, victim: Function, *others: Any, **more: Any) -> tuple[Tensor, Tensor]:
    """Mean distance and its estimated gradient, for functions that give logits ``(B, K)``."""
    images = images.clone().requires_grad_()
    loss = distance_to_black_box(images, lambda x: clone(x)[None], lambda x: victim(x).softmax(1), *others, **more)
    return loss.detach(), torch.autograd.grad(loss, images)[0]


def true_gradient(images: Tensor, clone: Function, victim: Function, distance: Any) -> Tensor:
    """The same by back-propagation through both."""
    images = images.clone().requires_grad_()
    return torch.autograd.grad(distance(clone(images), victim(images).softmax(1)).mean(), images)[0]


def cosine(first: Tensor, second: Tensor) -> float:
    return nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0).item()


@pytest.mark.parametrize(
    ("distance", "loss", "row"),
    [
        (logit_distance, -0.6573542, [0.0825055, 0.1601738, -0.2287842, -0.2852129]),
        (kl_distance, -0.2447713, [0.0350739, 0.0621043, 0.0332784, -0.2733191]),
    ],
)
def test_known_case(distance: Any, loss: float, row: list[float]) -> None:
    victim, clone = linear(torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]))), linear(torch.zeros(4, 4))
    exact = -true_gradient(POINTS, clone, victim, distance)
    assert_close(exact[0].flatten(), torch.tensor(row), rtol=0, atol=1e-6)
    found, gradient = gradient_of(POINTS, clone, victim, distance, unit(4000, POINTS), 1e-3)
    assert -found.item() == pytest.approx(loss, abs=1e-6)
    assert cosine(-gradient, exact) >= 0.9998
    assert (gradient.norm() / exact.norm()).item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("case", "distance"), [(0, logit_distance), (1, logit_distance), (2, kl_distance)])
def test_estimates_equal_the_published_ones(case: int, distance: Any) -> None:
    arrays = parity_arrays(f"dfme_forward_differences_{case}")
    asked: list[Tensor] = []

    def victim(points: Tensor) -> Tensor:
        asked.append(points)
        return linear(arrays["victim_W"], arrays["victim_b"])(points)

    clone = linear(arrays["clone_W"], arrays["clone_b"])
    directions, epsilon = arrays["directions"].unbind(1), arrays["epsilon"].item()
    loss, gradient = gradient_of(arrays["x_pre_tanh"], clone, victim, distance, directions, epsilon)
    assert -loss.item() == pytest.approx(arrays["generator_loss"].item(), rel=1e-5)
    assert sum(map(len, asked)) == arrays["queries"].item()
    assert torch.equal(asked[0], arrays["x_pre_tanh"]), "the images themselves come first"
    # The official code divides l1 by the number of classes once more, and sums KL over the batch.
    official = -gradient / 10 if distance is logit_distance else -gradient * len(gradient)
    largest = arrays["gradient"].abs().max().item()
    assert_close(official, arrays["gradient"], rtol=2e-2, atol=1e-2 * largest)


def test_the_estimate_is_unbiased() -> None:
    slope = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = torch.zeros(40_000, 3, 2, 2, dtype=torch.float64)
    estimates = forward_differences(
        lambda x: (x * slope).flatten(1).sum(dim=1) + 5, points, torch.full((40_000,), 5.0), unit(1, points), 1e-3
    )
    error = (estimates.mean(dim=0) - slope[0]).abs()
    assert (error < 4 * estimates.std(dim=0) / 200).all()
    assert (error < 0.1 * slope.norm()).all()
    # The mean square of d (g u) u is d times that of g: one direction is right in the mean only.
    assert estimates.flatten(1).norm(dim=1).square().mean().item() == pytest.approx(
        12 * slope.square().sum().item(), 0.03
    )


def test_more_directions_come_closer() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, 1, 8, 8, generator=generator)
    victim, clone = (linear(torch.randn(64, 5, generator=generator) / 8) for _ in range(2))
    exact = true_gradient(images, clone, victim, kl_distance)
    cosines = [
        cosine(gradient_of(images, clone, victim, kl_distance, unit(m, images), 1e-3)[1], exact) for m in (1, 8, 64)
    ]
    assert cosines[0] + 0.15 < cosines[1] < cosines[2] - 0.15
    assert cosines[2] > 0.6  # 1 / sqrt(1 + d / m) for d = m


def test_no_size_leaves_an_incomplete_chunk() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(256, 3, 4, 4, generator=generator)
    victim, clone = (linear(torch.randn(48, 10, generator=generator)) for _ in range(2))
    asked = []

    def counted(points: Tensor) -> Tensor:
        asked.append(len(points))
        return victim(points)

    directions = list(unit(19, images))
    _, whole = gradient_of(images, clone, counted, logit_distance, directions, 1e-3)
    assert asked == [256] * 20
    first = [direction[:100] for direction in directions]
    _, part = gradient_of(images[:100], clone, victim, logit_distance, first, 1e-3)
    # The mean over fewer samples; float32 differences of another batch are rounded otherwise.
    assert cosine(whole[:100], part) > 0.999
    assert (part.norm() / whole[:100].norm()).item() == pytest.approx(2.56, rel=1e-2)


@pytest.mark.parametrize("distance", [logit_distance, kl_distance])
def test_the_clones_share_can_be_exact(distance: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 1, 4, 4, generator=generator)
    constant = torch.randn(10, generator=generator)
    clone = linear(torch.randn(16, 10, generator=generator))

    def victim(points: Tensor) -> Tensor:
        return constant.expand(len(points), -1)

    exact = true_gradient(images, clone, victim, distance)
    options = (distance, list(unit(3, images)), 1e-3)
    _, shared = gradient_of(images, clone, victim, *options, exact_clone=True)
    assert_close(shared, exact, rtol=0, atol=1e-5 * exact.abs().max().item())
    _, estimated = gradient_of(images, clone, victim, *options)
    assert cosine(estimated, exact) < 0.8


@pytest.mark.parametrize(
    ("distance", "exact_clone"), [(logit_distance, True), (kl_distance, True), (kl_distance, False)]
)
def test_both_shares_add_up(distance: Any, exact_clone: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 1, 2, 3, generator=generator, dtype=torch.float64)
    victim, clone = (linear(torch.randn(6, 5, generator=generator, dtype=torch.float64)) for _ in range(2))
    exact = true_gradient(images, clone, victim, distance)
    # Orthogonal directions miss nothing.
    axes = [axis.view(1, 1, 2, 3).expand_as(images) for axis in torch.eye(6, dtype=torch.float64)]
    _, gradient = gradient_of(images, clone, victim, distance, axes, 1e-6, exact_clone=exact_clone)
    assert_close(gradient, exact, rtol=1e-4, atol=1e-6)


def mean_cosines(closeness: float) -> tuple[float, float]:
    """Of the estimated and of the exact clone's gradient, for a clone that is the victim to this share."""
    estimated, shared = [], []
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(8, 1, 8, 8, generator=generator)
        victim_weight, other = (torch.randn(64, 10, generator=generator) for _ in range(2))
        victim_weight, other = (weight - weight.mean(dim=1, keepdim=True) for weight in (victim_weight, other))
        victim, clone = linear(victim_weight), linear(closeness * victim_weight + (1 - closeness) * other)
        exact = true_gradient(images, clone, victim, logit_distance)
        directions = list(unit(8, images, seed))
        for found, exact_clone in ((estimated, False), (shared, True)):
            _, gradient = gradient_of(images, clone, victim, logit_distance, directions, 1e-3, exact_clone=exact_clone)
            found.append(cosine(gradient, exact))
    return sum(estimated) / 10, sum(shared) / 10


def test_an_exact_share_helps_while_clone_and_victim_differ() -> None:
    estimated, shared = mean_cosines(closeness=0.0)
    assert shared > estimated + 0.1


def test_an_exact_share_hurts_once_they_are_close() -> None:
    # The shares nearly cancel then; what is estimated together is as small as their difference, the victim's is not.
    estimated, shared = mean_cosines(closeness=0.8)
    assert shared < estimated - 0.1


def test_the_carrier_is_nothing_but_its_gradient() -> None:
    points = torch.randn(3, 2, 4, 4, requires_grad=True)
    gradient = torch.randn(3, 2, 4, 4)
    carrier = gradient_carrier(points, gradient)
    assert carrier.item() == 0
    (7 * carrier).backward()
    assert points.grad is not None
    assert_close(points.grad, 7 * gradient)


def test_several_clones_count_by_their_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 1, 2, 2, generator=generator, dtype=torch.float64)
    victim, *clones = (linear(torch.randn(4, 3, generator=generator, dtype=torch.float64)) for _ in range(3))
    points, directions = images.clone().requires_grad_(), list(unit(5, images))
    loss = distance_to_black_box(
        points,
        lambda x: torch.stack([clone(x) for clone in clones]),
        lambda x: victim(x).softmax(dim=1),
        kl_distance,
        directions,
        1e-3,
    )
    singles = [gradient_of(images, clone, victim, kl_distance, directions, 1e-3) for clone in clones]
    assert_close(loss.detach(), (singles[0][0] + singles[1][0]) / 2)
    assert_close(torch.autograd.grad(loss, points)[0], (singles[0][1] + singles[1][1]) / 2, rtol=1e-6, atol=1e-9)
