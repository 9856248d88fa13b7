"""Which of the victim's classes were found, by an attack that is not told how many there are."""

from typing import Any

import numpy as np

from lightning_extract.reports.metrics_table import Curve


def discovery_curve(summary: dict[str, Any]) -> Curve | None:
    """Classes found against queries, exact at every query: steps from none at 0 queries to the last query spent.

    Returns:
        None where the summary holds no history, since the attack knew the classes.
    """
    history = summary.get("class_discovery")
    if history is None:
        return None
    found = {0: 0} | dict(history)
    found.setdefault(summary["queries"]["spent"], max(found.values()))
    return Curve(*np.array(sorted(found.items()), dtype=np.float64).T)


def describe_discovery(summary: dict[str, Any]) -> str | None:
    """How many classes were found and when the last, in a line; None as ``discovery_curve``."""
    history = summary.get("class_discovery")
    if history is None:
        return None
    total = victim_classes(summary)
    of_all = "" if total is None else f" of {total}"
    if not history:
        return f"classes found: 0{of_all}"
    queries, count = history[-1]
    return f"classes found: {count}{of_all}, the last after {queries:,} queries"


def victim_classes(summary: dict[str, Any]) -> int | None:
    """The victim's number of classes; None in summaries that do not tell."""
    total = summary["victim"].get("num_classes")
    return None if total is None else int(total)
