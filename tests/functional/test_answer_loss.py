"""What a clone minimises, for either access, against values by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from lightning_extract.functional.losses import SoftLoss, answer_loss
from tests.functional.test_losses import random_answers

LOG_SUM = math.log(2 * math.cosh(1) + 1)


@pytest.mark.parametrize(
    ("soft_loss", "temperature", "expected"),
    [
        # |1 - 0|, |0 - 0| and |-1 - 0| in the mean: recovered logits of equal probabilities are zero.
        ("l1", 1.0, 2 / 3),
        # log(e + 1 + 1/e) less the mean logit, which is zero.
        ("cross_entropy", 1.0, LOG_SUM),
        # That less the entropy of the answer.
        ("kl", 1.0, LOG_SUM - math.log(3)),
        # The same of halved logits, four times.
        ("kl", 2.0, 4 * (math.log(2 * math.cosh(0.5) + 1) - math.log(3))),
    ],
)
def test_answer_loss_of_probabilities(soft_loss: SoftLoss, temperature: float, expected: float) -> None:
    logits, answers = torch.tensor([[1.0, 0.0, -1.0]] * 2), torch.full((2, 3), 1 / 3)
    assert answer_loss(logits, answers, soft_loss, temperature).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("soft_loss", ["l1", "kl", "cross_entropy"])
def test_answer_loss_of_labels_is_cross_entropy(soft_loss: SoftLoss) -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0]] * 2)
    assert answer_loss(logits, torch.tensor([0, 2]), soft_loss).item() == pytest.approx(LOG_SUM, abs=1e-6)
    assert answer_loss(logits, torch.tensor([0, 0]), soft_loss).item() == pytest.approx(LOG_SUM - 1, abs=1e-6)


@pytest.mark.parametrize("soft_loss", ["l1", "kl", "cross_entropy"])
def test_answers_take_the_precision_of_the_clone(soft_loss: SoftLoss) -> None:
    logits = random_answers(clones=1)[0][0]
    answers = logits.flip(1).softmax(dim=1)
    assert logits.dtype == torch.float64
    loss = answer_loss(logits, answers.float(), soft_loss)
    assert loss.dtype == torch.float64
    assert_close(loss, answer_loss(logits, answers, soft_loss), rtol=1e-5, atol=0)
