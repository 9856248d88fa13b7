"""A victim that a handful of queries determines: oracle, account and agreement together."""

import pytest
import torch
from torch import Tensor, nn

from lightning_extract.metrics import CloneQuality
from lightning_extract.oracle import QueryBudgetExceeded, VictimOracle
from tests.oracle.linear_victim import CLASSES, PIXELS, SHAPE, linear_oracle, pixels


class RoundsAnswers(nn.Module):
    """A defended victim: its probabilities have two decimals."""

    def __init__(self, victim: nn.Module) -> None:
        super().__init__()
        self.victim = victim

    def forward(self, images: Tensor) -> Tensor:
        rounded: Tensor = (100 * self.victim(images).softmax(dim=1)).round() / 100
        return rounded.clamp_min(1e-12).log()


def extract(oracle: VictimOracle) -> Tensor:
    """Solves for the regression from the origin and one query along each axis: ``(d + 1, K)``, class 0 set to zero."""
    queries = torch.cat([torch.zeros(1, PIXELS), torch.eye(PIXELS)])
    answers = oracle.query(queries.view(-1, *SHAPE), "clone").double()
    differences = answers.log() - answers.log()[:, :1]
    with_intercept = torch.cat([queries, torch.ones(PIXELS + 1, 1)], dim=1).double()
    return torch.linalg.solve(with_intercept, differences)


def evaluate(oracle: VictimOracle, clone: Tensor, truth: VictimOracle) -> tuple[float, float]:
    """Agreement and the largest probability error on fresh samples."""
    samples = pixels(2000, seed=1)
    inputs = torch.cat([samples.flatten(1), torch.ones(2000, 1)], dim=1).double()
    found, victim = (inputs @ clone).softmax(dim=1), truth.reference(samples)
    quality = CloneQuality()
    quality.update(found.float(), victim, victim.argmax(dim=1))
    return quality.compute()["agreement"].item(), (found - victim).abs().max().item()


def test_six_queries_recover_a_softmax_regression() -> None:
    oracle = linear_oracle(budget=PIXELS + 1)
    clone = extract(oracle)
    assert clone.shape == (PIXELS + 1, CLASSES)
    agreement, error = evaluate(oracle, clone, truth=oracle)
    assert agreement == 1.0
    assert error < 1e-5  # answers are float32; exact ones would give 1e-15
    assert (oracle.ledger.spent, oracle.answered, oracle.ledger.remaining) == (6, 6, 0)


def test_the_seventh_query_is_refused_and_not_charged() -> None:
    oracle = linear_oracle(budget=PIXELS + 1)
    extract(oracle)
    with pytest.raises(QueryBudgetExceeded, match=r"asked for 1 queries .* 0 of 6 are left"):
        oracle.query(pixels(1), "clone")
    assert (oracle.ledger.spent, oracle.answered) == (6, 6)


def test_rounded_answers_break_the_recovery() -> None:
    undefended = linear_oracle()
    defended = linear_oracle(RoundsAnswers(undefended._network), budget=PIXELS + 1)
    agreement, error = evaluate(defended, extract(defended), truth=undefended)
    assert agreement < 1.0
    assert error > 1e-3
