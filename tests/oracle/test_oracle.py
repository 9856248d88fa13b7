from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_extract.errors import InputError
from lightning_extract.oracle import InputSpace, QueryBudgetExceeded
from tests.oracle.linear_victim import CLASSES, SHAPE, LinearVictim, linear_oracle, pixels
from tests.stand_ins import noise_attack


class BreaksOnBright(nn.Module):
    """Answers with NaN for a sample whose first pixel is above 1/2."""

    def forward(self, images: Tensor) -> Tensor:
        first = images.flatten(1)[:, :1]
        return torch.where(first > 0.5, torch.nan, first).expand(-1, CLASSES)


def expected_probabilities(victim: LinearVictim, samples: Tensor) -> Tensor:
    return (samples.flatten(1) @ victim.linear.weight.T + victim.linear.bias).softmax(dim=1)


def test_soft_access_gives_probabilities() -> None:
    victim = LinearVictim()
    oracle = linear_oracle(victim)
    answers = oracle.query(pixels(7).requires_grad_(), "clone")
    assert answers.shape == (7, CLASSES)
    assert answers.dtype == torch.float32
    assert not answers.requires_grad
    assert_close(answers, expected_probabilities(victim, pixels(7)), rtol=0, atol=1e-6)
    assert oracle.ledger.by_phase == {"clone": 7}
    assert (oracle.answered, oracle.referenced) == (7, 0)


def test_hard_access_gives_labels() -> None:
    victim = LinearVictim()
    labels = linear_oracle(victim, access="hard").query(pixels(50), "clone")
    assert labels.shape == (50,)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, expected_probabilities(victim, pixels(50)).argmax(dim=1))
    assert labels.unique().numel() > 1


@pytest.mark.parametrize(("count", "chunks"), [(8, [4, 4]), (9, [4, 4, 1]), (3, [3])])
def test_chunks_change_no_answer_and_none_is_empty(count: int, chunks: list[int]) -> None:
    victim = LinearVictim()
    whole = linear_oracle().query(pixels(count), "clone")
    assert_close(linear_oracle(victim, chunk_size=4).query(pixels(count), "clone"), whole, rtol=0, atol=1e-6)
    assert victim.batches == chunks


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (pixels(2)[0], r"shape \(B, 1, 1, 5\) with B >= 1, got \(1, 1, 5\)"),
        (pixels(2)[..., :4], r"got \(2, 1, 1, 4\)"),
        (pixels(0), r"got \(0, 1, 1, 5\)"),
        (torch.zeros(2, *SHAPE, dtype=torch.uint8), r"floating point, got torch.uint8"),
        (pixels(2) + 1.5, r"lie in \[-1, 1\], found from .* to 2\.\d+ \(phase \"clone\"\)"),
        (torch.full((2, *SHAPE), -1.001), r"found from -1.001 to -1.001"),
        (torch.full((2, *SHAPE), torch.nan), r"must be finite .* found from nan"),
        (torch.full((2, *SHAPE), torch.inf), r"must be finite .* found from inf"),
    ],
)
def test_wrong_samples_are_refused_and_not_charged(samples: Tensor, message: str) -> None:
    victim = LinearVictim()
    oracle = linear_oracle(victim)
    with pytest.raises(InputError, match=message):
        oracle.query(samples, "clone")
    assert (oracle.ledger.spent, oracle.answered, victim.batches) == (0, 0, [])


def test_every_batch_is_checked_on_a_cpu() -> None:
    oracle = linear_oracle()
    oracle.query(pixels(2), "clone")
    with pytest.raises(InputError, match="pixels"):
        oracle.query(pixels(2) + 1.5, "clone")
    assert oracle.ledger.spent == 2


def test_pixels_at_the_limits_are_welcome() -> None:
    assert linear_oracle().query(torch.ones(1, *SHAPE), "clone").isfinite().all()
    assert linear_oracle().query(-torch.ones(1, *SHAPE), "clone").isfinite().all()


def test_what_the_budget_does_not_pay_is_not_answered() -> None:
    victim = LinearVictim()
    oracle = linear_oracle(victim, budget=10)
    oracle.query(pixels(8), "clone")
    with pytest.raises(QueryBudgetExceeded, match="2 of 10 are left"):
        oracle.query(pixels(3), "clone")
    assert (oracle.ledger.spent, oracle.answered, victim.batches) == (8, 8, [8])


def test_answers_that_are_not_finite_are_refused() -> None:
    oracle = linear_oracle(BreaksOnBright())
    with pytest.raises(InputError, match=r"victim's answers must be finite.*check its weights and normalisation"):
        oracle.query(torch.ones(1, *SHAPE), "clone")


def test_processes_in_lockstep_charge_for_all() -> None:
    oracle = linear_oracle(world_size=2, budget=10)
    oracle.query(pixels(4), "clone")
    assert (oracle.ledger.spent, oracle.answered) == (8, 8)
    with pytest.raises(QueryBudgetExceeded, match="asked for 4 "):
        oracle.query(pixels(2), "clone")


def test_reference_is_free_and_counted_apart() -> None:
    victim = LinearVictim()
    oracle = linear_oracle(victim, budget=1, access="hard")
    oracle.ledger.close()
    assert_close(oracle.reference(pixels(6)), expected_probabilities(victim, pixels(6)), rtol=0, atol=1e-6)
    assert (oracle.ledger.spent, oracle.answered, oracle.referenced) == (0, 0, 6)


def test_a_diagnosis_asks_without_the_account() -> None:
    oracle = linear_oracle(budget=3)
    oracle.query(pixels(3), "clone")
    oracle.ledger.close()
    with oracle.uncharged():
        answers = oracle.query(pixels(5), "generator")
    assert_close(answers, oracle.reference(pixels(5)))
    assert oracle.ledger.by_phase == {"clone": 3}
    assert (oracle.answered, oracle.referenced) == (3, 10)
    with pytest.raises(QueryBudgetExceeded):
        oracle.query(pixels(1), "clone")


def test_a_diagnosis_gets_labels_where_the_attack_does() -> None:
    oracle = linear_oracle(access="hard")
    with oracle.uncharged():
        free = oracle.query(pixels(5), "clone")
    assert torch.equal(free, oracle.query(pixels(5), "clone"))
    assert (oracle.ledger.spent, oracle.answered, oracle.referenced) == (5, 5, 5)


def test_an_error_in_a_diagnosis_closes_the_free_door() -> None:
    oracle = linear_oracle()
    with pytest.raises(InputError, match="pixels"), oracle.uncharged():
        oracle.query(pixels(2) + 1.5, "clone")
    assert oracle.referenced == 0
    oracle.query(pixels(2), "clone")
    assert (oracle.ledger.spent, oracle.answered) == (2, 2)


@pytest.mark.parametrize("space", ["pre_transform", "post_transform"])
def test_a_white_box_gives_the_true_gradient(space: InputSpace) -> None:
    victim = LinearVictim()
    oracle = linear_oracle(victim, mean=(0.3,), std=(0.2,), input_space=space, access="hard", chunk_size=4)
    samples, weight = pixels(9).requires_grad_(), torch.randn(9, CLASSES)
    answers = oracle.white_box(samples)
    (gradient,) = torch.autograd.grad((answers * weight).sum(), samples)
    inputs = ((samples + 1) / 2 - 0.3) / 0.2 if space == "pre_transform" else samples
    expected = expected_probabilities(victim, inputs)
    assert_close(answers, expected)
    assert_close(gradient, torch.autograd.grad((expected * weight).sum(), samples)[0])
    assert gradient.abs().sum() > 0.1
    assert (oracle.ledger.spent, oracle.answered, oracle.referenced) == (0, 0, 9)
    assert all(parameter.grad is None for parameter in victim.parameters())


def test_the_victim_normalises_raw_images() -> None:
    victim = LinearVictim()
    answers = linear_oracle(victim, mean=(0.3,), std=(0.2,)).query(pixels(4), "clone")
    normalised = ((pixels(4) + 1) / 2 - 0.3) / 0.2
    assert_close(answers, expected_probabilities(victim, normalised), rtol=0, atol=1e-6)


def test_post_transform_samples_are_fed_as_they_are() -> None:
    victim = LinearVictim()
    oracle = linear_oracle(victim, mean=(0.3,), std=(0.2,), input_space="post_transform")
    assert_close(oracle.query(pixels(4), "clone"), expected_probabilities(victim, pixels(4)), rtol=0, atol=1e-6)
    images = pixels(4)
    samples = oracle.to_input_space(images)
    assert_close(samples, ((images + 1) / 2 - 0.3) / 0.2)
    assert samples.abs().max() > 1  # real images leave [-1, 1] there; the free door lets them through
    assert_close(oracle.reference(samples), expected_probabilities(victim, samples), rtol=0, atol=1e-6)


def test_raw_images_are_already_in_the_pre_transform_space() -> None:
    images = pixels(4)
    assert linear_oracle(mean=(0.3,), std=(0.2,)).to_input_space(images) is images


def test_normalisation_is_by_channel() -> None:
    oracle = linear_oracle(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125), input_space="post_transform")
    found = oracle.to_input_space(torch.zeros(1, 3, 1, 1))
    assert_close(found.flatten(), torch.tensor([0.4 / 0.5, 0.3 / 0.25, 0.2 / 0.125]))


def test_autocast_does_not_reach_the_victim() -> None:
    victim = LinearVictim()
    expected = linear_oracle(victim).query(pixels(16), "clone")
    with torch.autocast("cpu", torch.bfloat16):
        assert victim(pixels(2)).dtype == torch.bfloat16, "autocast must be able to reach it"
        answers = linear_oracle(victim).query(pixels(16), "clone")
        reference = linear_oracle(victim).reference(pixels(16))
    assert answers.dtype == reference.dtype == torch.float32
    assert torch.equal(answers, expected)
    assert torch.equal(reference, expected)


class ReadsPrecision(LinearVictim):
    """Notes with what precision it may compute."""

    def forward(self, images: Tensor) -> Tensor:
        backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]
        self.seen = {backend.fp32_precision for backend in backends} | {torch.is_autocast_enabled("cpu")}
        return super().forward(images)


def test_no_setting_lowers_the_precision_of_an_answer() -> None:
    victim = ReadsPrecision()
    oracle = linear_oracle(victim)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            for ask in (lambda: oracle.query(pixels(2), "clone"), lambda: oracle.reference(pixels(2)),
                        lambda: oracle.white_box(pixels(2)), oracle.probe):  # fmt: skip
                victim.seen = set()
                ask()
                assert victim.seen == {"ieee", False}
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_half_precision_samples_are_answered_in_float32() -> None:
    samples = pixels(16).to(torch.bfloat16)
    answers = linear_oracle().query(samples, "clone")
    assert answers.dtype == torch.float32
    assert torch.equal(answers, linear_oracle().query(samples.float(), "clone"))


def test_victim_stays_in_eval_mode_frozen_and_out_of_reach() -> None:
    victim = LinearVictim().train()
    attack = noise_attack()
    attack.oracle = linear_oracle(victim)
    attack.train().double()
    assert not victim.training
    assert not victim.dropout.training
    assert victim.linear.weight.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in victim.parameters())
    assert not {id(p) for p in attack.parameters()} & {id(p) for p in victim.parameters()}
    assert_close(attack.oracle.query(pixels(9), "clone"), expected_probabilities(victim, pixels(9)), rtol=0, atol=1e-6)


def test_probe_finds_a_wrong_number_of_classes() -> None:
    oracle = linear_oracle()
    oracle.probe()
    assert (oracle.ledger.spent, oracle.answered) == (0, 0)
    oracle.num_classes = 10
    with pytest.raises(InputError, match=r"shape \(1, 3\), expected \(1, 10\); set num_classes"):
        oracle.probe()


def test_probe_finds_answers_that_are_not_finite() -> None:
    victim = LinearVictim()
    victim.linear.bias.data[1] = torch.nan
    with pytest.raises(InputError, match=r"answers must be finite.*phase \"probe\""):
        linear_oracle(victim).probe()


class OnAccelerator(torch.Tensor):
    """A tensor in host memory that says it lies on an accelerator, where checks are read late."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda")


def on_accelerator(samples: Tensor) -> Tensor:
    return samples.as_subclass(OnAccelerator)


BAD_PIXELS = torch.full((1, *SHAPE), -1.5)
BAD_ANSWER = torch.ones(1, *SHAPE)  # a proper query that the victim answers with NaN


@pytest.mark.parametrize(("bad", "message"), [(BAD_PIXELS, "pixels sent"), (BAD_ANSWER, "victim's answers")])
def test_accelerator_reads_later_checks_once_an_epoch(bad: Tensor, message: str) -> None:
    oracle = linear_oracle(BreaksOnBright())
    good = on_accelerator(torch.zeros(2, *SHAPE))
    oracle.query(good, "clone")
    oracle.query(good, "clone")  # what was fine before does not hide it
    oracle.query(on_accelerator(bad), "clone")  # not noticed yet, hence charged
    oracle.query(good, "clone")  # neither does what is fine later
    assert oracle.ledger.spent == 7
    with pytest.raises(InputError, match=f"{message}.*in some batch since the last evaluation"):
        oracle.verify_pending()


def test_accelerator_reads_the_first_checks_of_a_phase_at_once() -> None:
    oracle = linear_oracle(BreaksOnBright())
    oracle.query(on_accelerator(torch.zeros(2, *SHAPE)), "clone")
    with pytest.raises(InputError, match="pixels"):
        oracle.query(on_accelerator(BAD_PIXELS), "generator")
    assert oracle.ledger.by_phase == {"clone": 2}


def test_passed_checks_are_forgotten() -> None:
    oracle = linear_oracle(BreaksOnBright())
    for _ in range(3):
        oracle.query(on_accelerator(torch.zeros(2, *SHAPE)), "clone")
    assert set(oracle._pending_checks) == {"pixels", "answers"}
    oracle.verify_pending()
    assert not oracle._pending_checks
