"""The account of queries."""

from typing import Any


class QueryBudgetExceeded(RuntimeError):
    """A purchase was refused, since the query budget cannot pay it. Nothing was charged."""


class QueryLedger:
    """Counts every query by phase and refuses what the budget cannot pay.

    In a distributed run every process keeps the same account: counts are those of the global batch.

    Args:
        budget: The query budget in samples.

    Example:
        >>> ledger = QueryLedger(budget=1000)
        >>> ledger.charge(256, "clone")
        >>> ledger.remaining, ledger.by_phase
        (744, {'clone': 256})
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.by_phase: dict[str, int] = {}
        self._closed = False

    @property
    def spent(self) -> int:
        """Queries charged so far."""
        return sum(self.by_phase.values())

    @property
    def remaining(self) -> int:
        """Queries that can still be bought."""
        return self.budget - self.spent

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, in [0, 1]."""
        return self.spent / self.budget

    def charge(self, count: int, phase: str) -> None:
        """Books ``count`` queries of a phase.

        Raises:
            QueryBudgetExceeded: The budget does not pay them, or the account is closed; nothing is charged then.
            ValueError: The count is negative.
        """
        if count < 0:
            raise ValueError(f'asked for {count:,} queries (phase "{phase}"); a purchase is never taken back')
        if self._closed:
            raise QueryBudgetExceeded(
                f'asked for {count:,} queries (phase "{phase}") after the account was closed '
                f"at {self.spent:,} of {self.budget:,}"
            )
        if count > self.remaining:
            raise QueryBudgetExceeded(
                f'asked for {count:,} queries (phase "{phase}"), {self.remaining:,} of {self.budget:,} are left'
            )
        self.by_phase[phase] = self.by_phase.get(phase, 0) + count

    def close(self) -> None:
        """Refuses every later purchase; called when the attack has ended."""
        self._closed = True

    def state_dict(self) -> dict[str, Any]:
        """The account in plain types, for a checkpoint."""
        return {"budget": self.budget, "by_phase": dict(self.by_phase)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what was spent; the budget stays this ledger's own.

        Raises:
            QueryBudgetExceeded: More was spent than this ledger's budget allows; nothing is restored then.
        """
        spent = sum(state["by_phase"].values())
        if spent > self.budget:
            raise QueryBudgetExceeded(
                f"the checkpoint has spent {spent:,} queries, more than the budget of {self.budget:,}; "
                "raise the budget or start in a new run folder"
            )
        self.by_phase = dict(state["by_phase"])
