"""The victim as the attacker sees it, and the account of what that costs."""

from .image_queries import ImageQueries, InputSpace
from .ledger import QueryBudgetExceeded, QueryLedger
from .oracle import Access, VictimOracle
from .queries import Queries, Samples, victim_queries
from .text_queries import TextQueries

__all__ = [
    "Access",
    "ImageQueries",
    "InputSpace",
    "Queries",
    "QueryBudgetExceeded",
    "QueryLedger",
    "Samples",
    "TextQueries",
    "VictimOracle",
    "victim_queries",
]
