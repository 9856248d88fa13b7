from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_extract.errors import InputError
from lightning_extract.selection import DeepFool, deepfool_distances
from tests.selection.naive_deepfool import Logits, naive_distances

dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def linear(classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(classes)
    return torch.randn(classes, 12, generator=draws, dtype=dtype), torch.randn(classes, generator=draws, dtype=dtype)


def cnn(classes: int = 4, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(classes)
    layers = [nn.Conv2d(2, 6, 3), nn.Tanh(), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(6 * 4 * 4, classes)).to(dtype)
    with torch.no_grad():
        network[-1].weight *= 4
        network(images(64, dtype, seed=1))
    return network.eval()


def images(count: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.rand(count, 2, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def measured(logits: Logits, samples: Tensor, **settings: Any) -> Tensor:
    return deepfool_distances(logits, lambda indices: samples[indices], len(samples), DeepFool(**settings))


@dtypes
@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("overshoot", [None, 0.3])
def test_linear_classifiers_have_a_closed_form(dtype: torch.dtype, classes: int, overshoot: float | None) -> None:
    weights, bias = linear(classes, dtype)
    samples = torch.rand(30, 12, generator=torch.Generator().manual_seed(0), dtype=dtype)
    values = samples @ weights.T + bias
    label = values.argmax(dim=1)
    ways = (values - values.gather(1, label[:, None])) ** 2 / ((weights[None] - weights[label][:, None]) ** 2).sum(
        dim=2
    )
    ways[torch.arange(30), label] = torch.inf
    expected = (1.02 if overshoot is None else 1.3) ** 2 * ways.amin(dim=1)
    found = measured(
        lambda points: points @ weights.T + bias, samples.view(30, 3, 2, 2).flatten(1), overshoot=overshoot
    )
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=1e-5 if dtype == torch.float64 else 1e-3, atol=1e-7)


@pytest.mark.parametrize("variant", ["textbook", "official"])
def test_in_float64_a_network_gives_the_naive_distances(variant: Any) -> None:
    network, samples = cnn(), images(24)
    expected = naive_distances(network, samples, DeepFool(variant))
    assert len(expected.unique()) == 24
    torch.testing.assert_close(measured(network, samples, variant=variant, batch_size=7), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("variant", ["textbook", "official"])
def test_in_float32_a_network_gives_the_naive_distances(variant: Any) -> None:
    network, samples = cnn(dtype=torch.float32), images(24, torch.float32)
    expected = naive_distances(network, samples, DeepFool(variant))
    torch.testing.assert_close(measured(network, samples, variant=variant), expected, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("variant", ["textbook", "official"])
def test_the_variants_differ_and_the_batch_size_changes_nothing(variant: Any) -> None:
    network, samples = cnn(), images(20)
    expected = measured(network, samples, variant=variant)
    for batch_size in (1, 3, 19, 20):
        found = measured(network, samples, variant=variant, batch_size=batch_size)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    other = measured(network, samples, variant="textbook" if variant == "official" else "official")
    assert not torch.isclose(other, expected, rtol=0.1).all()


def test_samples_need_different_numbers_of_steps_and_finished_ones_cost_nothing() -> None:
    network, samples, passed = cnn(), images(20), list[int]()

    def counting(points: Tensor) -> Tensor:
        passed.append(len(points))
        result: Tensor = network(points)
        return result

    alone = []
    for sample in samples:
        passed.clear()
        measured(counting, sample[None])
        alone.append(sum(passed))
    assert len(set(alone)) > 1
    passed.clear()
    measured(counting, samples, batch_size=6)
    assert sum(passed) == sum(alone)
    assert max(passed) == 6


def test_the_most_probable_classes_alone_are_looked_at() -> None:
    network, samples = cnn(classes=8), images(30)
    few, all_classes = (measured(network, samples, classes=classes) for classes in (2, None))
    torch.testing.assert_close(few, naive_distances(network, samples, DeepFool(classes=2)), rtol=1e-5, atol=0)
    assert (few > 1.01 * all_classes).any()
    assert measured(network, samples, classes=100).equal(all_classes)


def test_a_sample_that_never_crosses_keeps_what_it_reached() -> None:
    # Newton's steps to the double root of x^2: each halves what is left.
    def logits(points: Tensor) -> Tensor:
        return torch.cat([points**2, torch.zeros_like(points)], dim=1)

    samples = torch.tensor([[0.8]], dtype=torch.float64)
    for steps in (1, 3):
        found = measured(logits, samples, steps=steps, overshoot=0.0)
        assert float(found) == pytest.approx((0.8 * (1 - 0.5**steps)) ** 2)


@pytest.mark.parametrize("variant", ["textbook", "official"])
def test_without_a_gradient_the_boundary_is_infinitely_far(variant: Any) -> None:
    def dead_below_a_half(points: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(points), (points - 0.5).relu()], dim=1)

    found = measured(dead_below_a_half, torch.tensor([[0.2], [0.8], [0.3]]), variant=variant)
    assert found.isinf().tolist() == [True, False, True]
    constant = measured(lambda points: 0 * points @ torch.ones(1, 3), torch.rand(5, 1), variant=variant, batch_size=2)
    assert constant.isinf().all()
    broken = measured(lambda points: torch.nan * points @ torch.ones(1, 3), torch.rand(5, 1), variant=variant)
    assert broken.isinf().all()


def test_the_official_variant_goes_on_past_the_boundary_and_stays_among_the_pixels() -> None:
    def logits(points: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(points), 9 * (points - 0.9)], dim=1)

    # All steps lead away from the start, until the pixel is 1 and nothing is left to walk.
    assert float(measured(logits, torch.tensor([[0.88]]), variant="official")) == pytest.approx(0.12**2, rel=1e-5)


def test_half_precision_of_the_network_is_enough() -> None:
    network, samples = cnn(dtype=torch.float32), images(40, torch.float32)
    expected = measured(network, samples)

    def autocast(points: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            result: Tensor = network(points)
        assert result.dtype == torch.bfloat16
        return result

    found = measured(autocast, samples)
    assert found.isfinite().all()
    assert torch.corrcoef(torch.stack([found, expected]).sqrt())[0, 1] > 0.95


def test_the_network_is_left_as_it_was_and_needs_no_gradient_mode() -> None:
    network, samples = cnn(), images(6)
    with torch.no_grad():
        found = measured(network, samples)
    assert found.equal(measured(network, samples))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_progress_is_told_in_shares_of_the_whole() -> None:
    told: list[int] = []
    network, samples = cnn(), images(20)
    deepfool_distances(network, lambda indices: samples[indices], 20, DeepFool(batch_size=4), told.append)
    assert sum(told) == 20
    assert len(told) > 5


def test_no_sample_is_no_distance() -> None:
    assert measured(cnn(), images(0)).shape == (0,)


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("variant", "fast", "textbook, official"),
        ("steps", 0, "from 1"),
        ("overshoot", -0.1, "from 0"),
        ("overshoot", float("nan"), "from 0"),
        ("overshoot", float("inf"), "from 0"),
        ("classes", 1, "from 2"),
        ("batch_size", 0, "from 1"),
        ("candidates", 0, "from 1"),
    ],
)
def test_settings_out_of_range_are_refused(field: str, value: Any, remedy: str) -> None:
    with pytest.raises(InputError, match=rf"deepfool\.{field} is .*{value}.*; give .*{remedy}"):
        DeepFool(**{field: value})


def test_the_variants_have_numbers_of_their_own() -> None:
    assert (DeepFool().step_limit, DeepFool().stretch) == (50, 1.02)
    assert (DeepFool("official").step_limit, DeepFool("official").stretch) == (20, 1.01)
    assert (DeepFool("official", steps=3, overshoot=0.5).step_limit, DeepFool(overshoot=0.0).stretch) == (3, 1.0)
