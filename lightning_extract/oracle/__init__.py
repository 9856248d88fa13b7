"""The victim as the attacker sees it, and the account of what that costs."""

from .ledger import QueryBudgetExceeded, QueryLedger
from .oracle import Access, InputSpace, VictimOracle

__all__ = ["Access", "InputSpace", "QueryBudgetExceeded", "QueryLedger", "VictimOracle"]
