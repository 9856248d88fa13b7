import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_extract.functional.losses import (
    adversarial_loss,
    class_diversity_loss,
    disagreement_loss,
    discriminator_loss,
    disguide_generator_loss,
    distillation_loss,
    hard_cross_entropy,
    kl_distance,
    logit_distance,
    mean_prediction_entropy_loss,
    pairwise_disagreement_loss,
    recovered_logit_loss,
    soft_cross_entropy,
)
from tests.parity_arrays import parity_arrays
from tests.two_processes import rank_file, run_on_two_processes

CLONE_LOSSES = {"l1_0": recovered_logit_loss, "kl_1": distillation_loss}


@pytest.mark.parametrize(("weight", "expected"), [(0.0, -0.5656854), (0.2, -0.7043145), (0.04, -0.5934112)])
def test_generator_loss_of_a_known_sample(weight: float, expected: float) -> None:
    logits = torch.tensor([[[0.9, 0.1]], [[0.1, 0.9]]]).log()
    assert_close(disguide_generator_loss(logits, weight), torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", range(4))
def test_generator_loss_equals_the_published_one(case: int) -> None:
    arrays = parity_arrays(f"disguide_generator_loss_{case}")
    x = arrays["x"].requires_grad_()
    logits = torch.einsum("bd,sdk->sbk", x, arrays["weights"])
    assert_close(logits, arrays["clone_logits"], rtol=1e-4, atol=1e-5)
    loss = disguide_generator_loss(logits, arrays["lambda_div"].item())
    (gradient,) = torch.autograd.grad(loss, x)
    assert_close(loss.detach(), arrays["loss"].float(), rtol=1e-4, atol=0)
    assert_close(gradient, arrays["grad_x"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("case", CLONE_LOSSES)
def test_soft_clone_losses_equal_the_published_ones(case: str) -> None:
    arrays = parity_arrays(f"clone_loss_{case}")
    logits = arrays["clone_logits"].requires_grad_()
    loss = CLONE_LOSSES[case](logits, arrays["victim_probabilities"])
    (gradient,) = torch.autograd.grad(loss, logits)
    assert_close(loss.detach(), arrays["loss"].float(), rtol=1e-4, atol=0)
    assert_close(gradient, arrays["grad_clone_logits"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", ["hl_2", "hl_3"])
def test_hard_clone_loss_equals_the_published_one(case: str) -> None:
    arrays = parity_arrays(f"clone_loss_{case}")
    logits = arrays["clone_logits"].requires_grad_()
    loss = hard_cross_entropy(logits, arrays["victim_probabilities"].argmax(dim=1))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert_close(loss.detach(), arrays["loss"].float(), rtol=1e-4, atol=0)
    assert_close(gradient, arrays["grad_clone_logits"], rtol=1e-4, atol=1e-6)


def test_soft_cross_entropy_of_a_known_sample() -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 1.0]])
    target = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])
    assert_close(soft_cross_entropy(logits, target), torch.tensor(0.9576060), rtol=0, atol=1e-6)


def slow_generator_loss(probabilities: Tensor, weight: float) -> float:
    clones, batch, classes = probabilities.shape
    deviations, diversity = 0.0, 0.0
    for k in range(classes):
        share = 0.0
        for i in range(batch):
            answers = [float(probabilities[s, i, k]) for s in range(clones)]
            mean = sum(answers) / clones
            deviations += math.sqrt(sum((answer - mean) ** 2 for answer in answers) / (clones - 1))
            share += sum(answer + 1e-6 for answer in answers) / (clones * batch)
        diversity += share * math.log(share)
    return -deviations / (batch * classes) + weight * diversity


@pytest.mark.parametrize("clones", [2, 3])
def test_generator_loss_equals_a_slow_one(clones: int) -> None:
    logits = torch.randn(clones, 4, 5, generator=torch.Generator().manual_seed(clones), dtype=torch.float64)
    expected = slow_generator_loss(logits.softmax(dim=-1), 0.3)
    assert disguide_generator_loss(logits, 0.3).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("clones", "classes"), [(2, 10), (3, 10), (4, 4)])
def test_disagreement_is_largest_when_every_clone_names_another_class(clones: int, classes: int) -> None:
    torch.manual_seed(0)
    one_hot = torch.eye(classes)[:clones, None]
    bound = -math.sqrt(clones) / classes
    assert disagreement_loss(one_hot).item() == pytest.approx(bound)
    random = (5 * torch.randn(200, clones, 1, classes)).softmax(dim=-1)
    assert all(bound <= disagreement_loss(probabilities).item() <= 0 for probabilities in random)
    assert disagreement_loss(one_hot[:1].expand(clones, 3, classes)).item() == pytest.approx(0, abs=1e-18)


def test_clones_that_agree_exactly_give_no_gradient() -> None:
    probabilities = torch.full((2, 3, 4), 0.25, requires_grad=True)
    disagreement_loss(probabilities).backward()
    assert probabilities.grad is not None
    assert torch.equal(probabilities.grad, torch.zeros(2, 3, 4))


def test_saturated_clones_give_a_finite_gradient() -> None:
    # The second and third class differ by about 1e-40: the inverse of such a deviation overflows.
    logits = torch.tensor([[[90.0, 0.0, -1.0]], [[91.0, 0.0, -1.0]]], requires_grad=True)
    assert 0 < logits.softmax(dim=-1).std(dim=0)[0, 1] < torch.finfo(torch.float32).tiny
    disguide_generator_loss(logits, 0.2).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_diversity_is_the_entropy_of_the_mean_not_the_mean_of_entropies() -> None:
    sure = torch.eye(4)[None].expand(2, 4, 4)  # each sample one class, all classes once
    assert class_diversity_loss(sure).item() == pytest.approx(-math.log(4), abs=1e-4)
    same = torch.eye(4)[0].expand(2, 4, 4)
    assert class_diversity_loss(same).item() == pytest.approx(0, abs=1e-4)


def test_recovered_logit_loss_sees_a_shift_of_the_clone() -> None:
    probabilities = torch.tensor([[2.0, 0.0, -2.0]]).softmax(dim=1)
    logits = torch.tensor([[2.0, 0.0, -2.0]])
    assert recovered_logit_loss(logits, probabilities).item() == pytest.approx(0, abs=1e-6)
    assert recovered_logit_loss(logits + 3, probabilities).item() == pytest.approx(3, rel=1e-6)


def random_answers(clones: int = 3, batch: int = 6, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Logits ``(S, B, K)`` of clones and of a victim ``(B, K)``, in float64."""
    generator = torch.Generator().manual_seed(0)
    both = 3 * torch.randn(clones + 1, batch, classes, generator=generator, dtype=torch.float64)
    return both[:-1], both[-1]


def test_distances_of_each_sample_and_clone() -> None:
    clones, victim = random_answers()
    p, centred = victim.softmax(dim=1), victim - victim.mean(dim=1, keepdim=True)
    l1, kl = logit_distance(clones, p), kl_distance(clones, p)
    assert l1.shape == kl.shape == (3, 6)
    for s, i in itertools.product(range(3), range(6)):
        assert l1[s, i].item() == pytest.approx(sum(abs(float(clones[s, i, k] - centred[i, k])) for k in range(5)) / 5)
        q = clones[s, i].softmax(dim=0)
        expected = sum(float(p[i, k]) * math.log(float(p[i, k] / q[k])) for k in range(5))
        assert kl[s, i].item() == pytest.approx(expected)


def test_no_distance_to_the_same_answers() -> None:
    _, victim = random_answers()
    assert_close(
        kl_distance(victim + 7, victim.softmax(dim=1)), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-12
    )
    centred = victim - victim.mean(dim=1, keepdim=True)
    assert_close(
        logit_distance(centred, victim.softmax(dim=1)), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("distance", [logit_distance, kl_distance])
def test_an_answer_of_zero_stays_finite(distance: Any) -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0]], requires_grad=True)
    value = distance(logits, torch.tensor([[1.0, 0.0, 0.0]]))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("temperature", [1.0, 3.0, 5.0, 0.5])
def test_distillation_equals_the_one_from_true_logits(temperature: float) -> None:
    (clone, *_), victim = random_answers()
    clone = clone.requires_grad_()
    # What torch computes where the victim's logits are at hand.
    soft_victim, soft_clone = (victim / temperature).softmax(dim=1), (clone / temperature).log_softmax(dim=1)
    expected = temperature**2 * torch.nn.KLDivLoss(reduction="batchmean")(soft_clone, soft_victim)
    (expected_gradient,) = torch.autograd.grad(expected, clone)
    loss = distillation_loss(clone, victim.softmax(dim=1), temperature)
    (gradient,) = torch.autograd.grad(loss, clone)
    assert_close(loss, expected, rtol=1e-9, atol=0)
    assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-12)


def test_distillation_has_the_gradient_of_soft_cross_entropy() -> None:
    (clone, *_), victim = random_answers()
    clone, p = clone.requires_grad_(), victim.softmax(dim=1)
    first, second = (torch.autograd.grad(loss(clone, p), clone)[0] for loss in (distillation_loss, soft_cross_entropy))
    assert_close(first, second)


def test_pairwise_disagreement_of_a_known_sample() -> None:
    logits = torch.tensor([[[1.0, 0.0, -1.0], [0.0, 2.0, 1.0]], [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]], requires_grad=True)
    loss = pairwise_disagreement_loss(logits)
    assert_close(loss, torch.tensor(-0.6666667), rtol=0, atol=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    # Each of six differences weighs 1/6, with the sign that makes it larger.
    expected = torch.tensor([[-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]]) / 6
    assert_close(gradient, torch.stack([expected, -expected]))


def test_three_clones_disagree_as_their_pairs_do_in_the_mean() -> None:
    clones, _ = random_answers(clones=3)
    pairs = [-(first - second).abs().mean() for first, second in itertools.combinations(clones, 2)]
    assert len(pairs) == 3
    assert_close(pairwise_disagreement_loss(clones), torch.stack(pairs).mean())


def test_half_precision_is_compared_in_float32() -> None:
    clones, _ = random_answers(clones=2)
    half = clones.to(torch.bfloat16)
    loss = pairwise_disagreement_loss(half)
    assert loss.dtype == torch.float32
    assert_close(loss, pairwise_disagreement_loss(half.float()))


def test_mean_prediction_entropy_of_a_known_sample() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])
    # Two samples of one clone, and one sample of each of two clones, have the same mean.
    for logits in (probabilities.log()[None], probabilities.log()[:, None]):
        assert_close(mean_prediction_entropy_loss(logits), torch.tensor(-1.0486238), rtol=0, atol=1e-6)


def test_mean_prediction_entropy_is_finite_for_sure_clones() -> None:
    logits = torch.tensor([[[200.0, 0.0, 0.0]]], requires_grad=True)
    loss = mean_prediction_entropy_loss(logits)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(0, abs=2e-5)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("offset", [1e-5, 0.1])
def test_mean_prediction_entropy_equals_a_slow_one(offset: float) -> None:
    clones, _ = random_answers()
    loss = mean_prediction_entropy_loss(clones.requires_grad_(), offset)
    (gradient,) = torch.autograd.grad(loss, clones)
    p = np.exp(clones.detach().numpy())
    p /= p.sum(axis=2, keepdims=True)
    a = p.mean(axis=(0, 1))
    slope = np.log(a + offset) + a / (a + offset)
    expected = p * (slope - (p * slope).sum(axis=2, keepdims=True)) / (3 * 6)
    assert loss.item() == pytest.approx((a * np.log(a + offset)).sum(), rel=1e-12)
    assert_close(gradient, torch.from_numpy(expected), rtol=1e-9, atol=1e-14)


def write_mean_prediction_entropy(rank: int, folder: Path) -> None:
    share = random_answers()[0].chunk(2, dim=1)[rank].requires_grad_()
    loss = mean_prediction_entropy_loss(share)
    (gradient,) = torch.autograd.grad(loss, share)
    torch.save({"loss": loss.detach(), "gradient": gradient}, rank_file(folder, rank))


def test_mean_prediction_entropy_of_two_processes_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    run_on_two_processes(write_mean_prediction_entropy, tmp_path)
    logits = random_answers()[0].requires_grad_()
    loss = mean_prediction_entropy_loss(logits)
    (gradient,) = torch.autograd.grad(loss, logits)
    for rank in (0, 1):
        found = torch.load(rank_file(tmp_path, rank), weights_only=True)
        assert_close(found["loss"], loss.detach())
        # The gradient of the sum of both processes' losses, each of which is the global one.
        assert_close(found["gradient"], 2 * gradient.chunk(2, dim=1)[rank])


def test_adversarial_losses_of_known_samples() -> None:
    # Probabilities 3/4 and 1/2 for the real samples, 1/4 for the fake one.
    real, fake = torch.tensor([math.log(3), 0.0]), torch.tensor([-math.log(3)])
    expected = (math.log(4 / 3) + math.log(2)) / 2 + math.log(4 / 3)
    assert discriminator_loss(real, fake).item() == pytest.approx(expected)
    assert adversarial_loss(fake).item() == pytest.approx(math.log(4))


def test_adversarial_losses_equal_slow_ones() -> None:
    real, fake = (answers.flatten().requires_grad_() for answers in random_answers(clones=1))
    r, f = (1 / (1 + np.exp(-x.detach().numpy())) for x in (real, fake))
    against, fooled = discriminator_loss(real, fake), adversarial_loss(fake)
    assert against.item() == pytest.approx(-np.log(r).mean() - np.log(1 - f).mean(), rel=1e-12)
    assert fooled.item() == pytest.approx(-np.log(f).mean(), rel=1e-12)
    gradients = *torch.autograd.grad(against, (real, fake)), *torch.autograd.grad(fooled, fake)
    for gradient, expected in zip(gradients, (r - 1, f, f - 1), strict=True):
        assert_close(gradient, torch.from_numpy(expected / f.size))


def test_a_sure_discriminator_still_teaches_the_generator() -> None:
    fake = torch.tensor([-200.0], requires_grad=True)
    loss = adversarial_loss(fake)
    assert (loss.item(), *torch.autograd.grad(loss, fake)) == (200, -1)


@pytest.mark.parametrize("loss", [mean_prediction_entropy_loss, adversarial_loss, lambda x: discriminator_loss(x, -x)])
def test_losses_of_half_precision_are_computed_in_float32(loss: Any) -> None:
    half = random_answers()[0].to(torch.bfloat16)
    assert_close(loss(half), loss(half.float()), rtol=0, atol=0)  # of one dtype, too
