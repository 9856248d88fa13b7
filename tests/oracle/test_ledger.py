from pathlib import Path

import pytest
import torch

from lightning_extract.oracle import QueryBudgetExceeded, QueryLedger


def test_books_by_phase() -> None:
    ledger = QueryLedger(budget=1000)
    for count, phase in ((256, "generator"), (100, "clone"), (44, "clone")):
        ledger.charge(count, phase)
    assert ledger.by_phase == {"generator": 256, "clone": 144}
    assert (ledger.spent, ledger.remaining, ledger.progress) == (400, 600, 0.4)


def test_refuses_what_it_cannot_pay_and_charges_nothing() -> None:
    ledger = QueryLedger(budget=20_000_000)
    ledger.charge(19_999_488, "clone")
    message = r'asked for 1,536 queries \(phase "generator"\), 512 of 20,000,000 are left'
    with pytest.raises(QueryBudgetExceeded, match=message):
        ledger.charge(1536, "generator")
    assert ledger.by_phase == {"clone": 19_999_488}
    ledger.charge(512, "generator")
    assert (ledger.remaining, ledger.progress) == (0, 1.0)


def test_closed_account_sells_nothing() -> None:
    ledger = QueryLedger(budget=10)
    ledger.charge(4, "clone")
    ledger.close()
    with pytest.raises(QueryBudgetExceeded, match="closed at 4 of 10"):
        ledger.charge(1, "clone")
    assert ledger.spent == 4


def test_nothing_is_paid_back() -> None:
    ledger = QueryLedger(budget=10)
    ledger.charge(4, "clone")
    with pytest.raises(ValueError, match="never taken back"):
        ledger.charge(-1, "clone")
    assert ledger.spent == 4


def test_state_survives_a_checkpoint(tmp_path: Path) -> None:
    ledger = QueryLedger(budget=1000)
    ledger.charge(256, "clone")
    state = ledger.state_dict()
    ledger.charge(1, "clone")  # the state is no view of the account
    torch.save(state, tmp_path / "state.pt")
    restored = QueryLedger(budget=2000)
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert restored.by_phase == {"clone": 256}
    assert restored.remaining == 1744
    restored.load_state_dict(state)
    restored.charge(10, "clone")
    assert state["by_phase"] == {"clone": 256}


def test_checkpoint_beyond_the_budget_is_refused() -> None:
    rich, poor = QueryLedger(budget=1000), QueryLedger(budget=100)
    rich.charge(101, "clone")
    with pytest.raises(QueryBudgetExceeded, match="has spent 101 queries, more than the budget of 100"):
        poor.load_state_dict(rich.state_dict())
    assert poor.spent == 0
    rich.by_phase["clone"] = 100
    poor.load_state_dict(rich.state_dict())
    assert poor.remaining == 0
