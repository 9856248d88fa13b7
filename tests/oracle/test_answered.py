"""What an oracle counts of shares of unlike size, and keeps in a checkpoint."""

from pathlib import Path

import pytest
import torch

from lightning_extract.oracle import QueryBudgetExceeded
from tests.oracle.linear_victim import linear_oracle, pixels


@pytest.mark.parametrize("rank", [0, 1])
def test_shares_of_unlike_size_charge_for_the_whole_batch(rank: int) -> None:
    oracle = linear_oracle(world_size=2, budget=7)
    answers = oracle.query(pixels((2, 3)[rank]), "selected", total=5)
    assert len(answers) == (2, 3)[rank]
    assert (oracle.ledger.by_phase, oracle.answered) == ({"selected": 5}, 5)
    assert oracle.label_counts.sum() == (2, 3)[rank]
    with pytest.raises(QueryBudgetExceeded, match="asked for 3 queries"):
        oracle.query(pixels(1), "selected", total=3)
    assert (oracle.ledger.spent, oracle.answered) == (5, 5)


def test_a_diagnosis_charges_no_share_either() -> None:
    oracle = linear_oracle(world_size=2)
    with oracle.uncharged():
        oracle.query(pixels(2), "selected", total=5)
    assert (oracle.ledger.spent, oracle.answered, oracle.referenced) == (0, 0, 2)


def test_counts_survive_a_checkpoint(tmp_path: Path) -> None:
    oracle = linear_oracle()
    oracle.query(pixels(20), "clone")
    oracle.reference(pixels(3))
    state = oracle.state_dict()
    assert state == {"answered": 20, "referenced": 3, "label_counts": oracle.label_counts.tolist()}
    torch.save(state, tmp_path / "state.pt")
    restored = linear_oracle()
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert restored.state_dict() == state
    assert restored.label_counts.dtype == torch.int64
    restored.query(pixels(20), "clone")
    assert restored.label_counts.tolist() == [2 * count for count in oracle.label_counts.tolist()]


def test_the_first_process_takes_the_labels_of_all() -> None:
    state = {"answered": 6, "referenced": 1, "label_counts": [3, 2, 1]}
    parts = [linear_oracle(world_size=2), linear_oracle(world_size=2)]
    for rank, part in enumerate(parts):
        part.load_state_dict(state, rank)
        assert (part.answered, part.referenced) == (6, 1)
    assert (parts[0].label_counts + parts[1].label_counts).tolist() == [3, 2, 1]
