import torch
from torch.testing import assert_close

from lightning_extract.functional.logits import PROBABILITY_FLOOR, recover_logits, soft_vote
from tests.parity_arrays import parity_arrays


def test_recovered_logits_of_known_samples() -> None:
    probabilities = torch.tensor([[2.0, 0.0, -1.0], [5.0, 1.0, 3.0]]).softmax(dim=1)
    expected = torch.tensor([[1.6667, -0.3333, -1.3333], [2.0, -2.0, 0.0]])
    assert_close(recover_logits(probabilities), expected, rtol=0, atol=1e-4)


def test_recovered_logits_equal_the_published_ones() -> None:
    arrays = parity_arrays("recovered_logits_mean")
    assert_close(recover_logits(arrays["victim_probabilities"]), arrays["recovered"], rtol=1e-4, atol=1e-6)


def test_recovered_logits_give_the_same_answer() -> None:
    logits = 5 * torch.randn(32, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    recovered = recover_logits(logits.softmax(dim=1))
    assert_close(recovered, logits - logits.mean(dim=1, keepdim=True))
    assert_close(recovered.sum(dim=1), torch.zeros(32, dtype=torch.float64), rtol=0, atol=1e-12)


def test_class_of_probability_zero_stays_finite() -> None:
    recovered = recover_logits(torch.tensor([[1.0, 0.0]]))
    half = -torch.tensor(PROBABILITY_FLOOR).log() / 2
    assert_close(recovered, torch.stack([half, -half])[None])


def test_soft_vote_is_the_mean_of_probabilities_not_of_logits() -> None:
    # Probabilities [1/2, 1/2] and [4/5, 1/5]; the mean of the logits would give [2/3, 1/3].
    logits = torch.tensor([[[0.0, 0.0]], [[4.0, 1.0]]])
    logits[1] = logits[1].log()
    assert_close(soft_vote(logits), torch.tensor([[0.65, 0.35]]))


def test_soft_vote_of_half_precision_is_computed_in_float32() -> None:
    logits = torch.tensor([[[0.0, -12.0]], [[0.0, -14.0]]])
    voted = soft_vote(logits.to(torch.bfloat16))
    assert voted.dtype == torch.float32
    assert torch.equal(voted, soft_vote(logits))
    assert soft_vote(logits.double()).dtype == torch.float64
