from typing import Any

import pytest
import torch
from torch.testing import assert_close

from lightning_extract.errors import InputError
from lightning_extract.oracle import QueryBudgetExceeded
from tests.oracle.linear_victim import linear_oracle
from tests.oracle.text_victim import WordVotes, text_oracle

SENTENCES = ["Good, so GOOD!", "a bad film", "so so so so so so good"]
# Two of "good", one of "so" and two unknown signs; one of "bad" and two unknown words; "good" is the seventh word.
LOGITS = torch.tensor([[0.5, 6.5, 2.5], [2.0, 0.0, 2.0], [3.0, 3.0, 3.0]])


def test_raw_sentences_are_answered() -> None:
    oracle = text_oracle()
    answers = oracle.query(SENTENCES, "clone")
    assert_close(answers, LOGITS.softmax(dim=1))
    assert answers.dtype == torch.float32
    assert (oracle.ledger.by_phase, oracle.answered, oracle.referenced) == ({"clone": 3}, 3, 0)
    assert_close(oracle.reference(tuple(SENTENCES)), answers)
    assert (oracle.ledger.spent, oracle.answered, oracle.referenced) == (3, 3, 3)


def test_hard_access_gives_labels_of_sentences() -> None:
    labels = text_oracle(access="hard", world_size=2).query(["good", "bad", "film"], "clone")
    assert labels.tolist() == [1, 0, 2]
    assert labels.dtype == torch.int64


def test_chunks_change_no_answer() -> None:
    victim = WordVotes()
    answers = text_oracle(victim, chunk_size=2).query(SENTENCES, "clone")
    assert_close(answers, LOGITS.softmax(dim=1))
    assert victim.batches == [2, 1]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "got no sentence for the victim"),
        (["good", ""], "sentence 1 for the victim is empty"),
        ([" \n"], "sentence 0 for the victim is empty"),
        (["good", 7], "sentence 1 for the victim is a int; give text"),
        ([None], "sentence 0 for the victim is a NoneType"),
        ("good film", "must be a list of sentences, got str"),
        (torch.zeros(2, 6, dtype=torch.int64), "must be a list of sentences, got Tensor"),
    ],
)
def test_wrong_sentences_are_refused_and_not_charged(samples: Any, message: str) -> None:
    victim = WordVotes()
    oracle = text_oracle(victim)
    for ask in (lambda: oracle.query(samples, "clone"), lambda: oracle.reference(samples)):
        with pytest.raises(InputError, match=message):
            ask()
    assert (oracle.ledger.spent, oracle.answered, oracle.referenced, victim.batches) == (0, 0, 0, [])
    assert oracle.label_counts.sum() == 0


def test_images_are_expected_by_an_image_victim() -> None:
    oracle = linear_oracle()
    with pytest.raises(InputError, match="must be a tensor of images, got list"):
        oracle.query(["good"], "clone")
    assert oracle.ledger.spent == 0


def test_what_the_budget_does_not_pay_is_not_answered() -> None:
    oracle = text_oracle(budget=2)
    with pytest.raises(QueryBudgetExceeded, match="asked for 3 queries"):
        oracle.query(SENTENCES, "clone")
    assert (oracle.ledger.spent, oracle.answered) == (0, 0)


def test_words_have_no_gradient() -> None:
    oracle = text_oracle()
    with pytest.raises(InputError, match="no gradient with respect to words"):
        oracle.white_box(SENTENCES)  # type: ignore[arg-type]
    assert oracle.referenced == 0


def test_probe_and_input_space() -> None:
    oracle = text_oracle()
    oracle.probe()
    assert (oracle.ledger.spent, oracle.answered) == (0, 0)
    assert oracle.to_input_space(SENTENCES) is SENTENCES
    oracle.num_classes = 4
    with pytest.raises(InputError, match=r"shape \(1, 3\), expected \(1, 4\)"):
        oracle.probe()


def test_answers_that_are_not_finite_are_refused() -> None:
    victim = WordVotes()
    victim.table.weight.data[1] = torch.nan
    with pytest.raises(InputError, match="victim's answers must be finite"):
        text_oracle(victim).query(["film"], "clone")


def test_labels_are_counted_where_they_are_paid_for() -> None:
    oracle = text_oracle()
    oracle.query(["good", "bad", "good film"], "clone")
    oracle.query(["film"], "clone")
    oracle.reference(["bad"])
    with oracle.uncharged():
        oracle.query(["bad"], "clone")
    assert oracle.label_counts.dtype == torch.int64
    assert oracle.label_counts.tolist() == [1, 2, 1]
