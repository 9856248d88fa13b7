"""One row of a report: an experiment summarised over its seeds, in words and as numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_extract.reports.collect import Run
from lightning_extract.reports.published import Published
from lightning_extract.reports.statistics import Estimate, estimate

Value = Callable[[Run], float | None]


def _at(point: str, metric: str) -> Value:
    return lambda run: (run.summary[point] or {}).get(metric)


def _single_clones(run: Run) -> float | None:
    singles = [value for key, value in run.summary["final"].items() if key.startswith("accuracy_clone_")]
    return sum(singles) / len(singles) if singles else None


def _accuracy_ratio(run: Run) -> float | None:
    victim = run.summary["victim_accuracy"]
    return float(run.summary["final"]["accuracy"] / victim) if victim else None


# Columns for what few experiments have, and what stands there for the others: a table in which it stands everywhere
# goes without the column.
PRIOR = "prior queries"
AVERAGED_ACCURACY, AVERAGED_AGREEMENT = "averaged clone's accuracy (%)", "averaged clone's agreement (%)"
PUBLISHED = "published (%)"
OPTIONAL = {PRIOR: "0", AVERAGED_ACCURACY: "-", AVERAGED_AGREEMENT: "-", PUBLISHED: "-"}

SHARES: dict[str, Value] = {
    "final_accuracy": _at("final", "accuracy"),
    "final_agreement": _at("final", "agreement"),
    "final_single_clone_accuracy": _single_clones,
    "final_averaged_accuracy": _at("final", "accuracy_averaged"),
    "final_averaged_agreement": _at("final", "agreement_averaged"),
    "accuracy_ratio": _accuracy_ratio,
    "best_heldout_accuracy": _at("best_heldout", "accuracy"),
    "best_heldout_agreement": _at("best_heldout", "agreement"),
    "best_test_accuracy": _at("best_test", "accuracy"),
    "best_test_agreement": _at("best_test", "agreement"),
}


@dataclass(frozen=True)
class Row:
    """One experiment: what was attacked, at which price, with which success.

    Args:
        group: Its runs.
        published: What was published of it.
    """

    group: Sequence[Run]
    published: Sequence[Published] = ()

    @property
    def identity(self) -> dict[str, Any]:
        """What all seeds share."""
        run = self.group[0]
        return {
            "experiment": run.experiment,
            "attack": run.summary["attack"],
            "access": run.summary["access"],
            "input space": run.summary.get("input_space", "-"),
            "data set": run.summary["victim"]["dataset"],
        }

    @property
    def victim_accuracy(self) -> float:
        """The victim's accuracy on the test set."""
        return float(sum(run.summary["victim_accuracy"] for run in self.group) / len(self.group))

    @property
    def budget(self) -> int:
        """The query budget, which the common config fixes."""
        return int(self.group[0].summary["queries"]["budget"])

    @property
    def spent(self) -> list[int]:
        """Queries truly spent by each seed."""
        return [run.summary["queries"]["spent"] for run in self.group]

    @property
    def prior(self) -> list[int]:
        """Queries spent before by the runs whose clones each seed started from."""
        return [run.prior for run in self.group]

    @property
    def goals(self) -> dict[str, Estimate | None]:
        """Queries to each accuracy goal, over the seeds that reached it."""
        names = sorted({goal for run in self.group for goal in run.summary["queries_to_accuracy"]}, key=float)
        return {goal: estimate(run.summary["queries_to_accuracy"].get(goal) for run in self.group) for goal in names}

    @property
    def collapsed(self) -> int:
        """Seeds in which a collapse was found."""
        return sum(bool(run.summary["collapse"]) for run in self.group)

    @property
    def shares(self) -> dict[str, Estimate | None]:
        """Accuracies and agreements over seeds, as fractions."""
        return {key: estimate(map(value, self.group)) for key, value in SHARES.items()}

    def results(self) -> dict[str, str]:
        """The readable row of the headline numbers."""
        return {key: str(value) for key, value in self.identity.items()} | {
            "n": str(len(self.group)),
            PRIOR: _count(self.prior),
            "victim accuracy (%)": f"{100 * self.victim_accuracy:.2f}",
            "final accuracy (%)": self._percent("final_accuracy"),
            "clone / victim accuracy (%)": self._percent("accuracy_ratio"),
            "final agreement (%)": self._percent("final_agreement"),
            PUBLISHED: "; ".join(map(str, self.published)) or "-",
        }

    def choices(self) -> dict[str, str]:
        """The readable row that sets other choices of the clone beside the final one."""
        return self._label() | {
            "final accuracy (%)": self._percent("final_accuracy"),
            "best held-out accuracy (%)": self._percent("best_heldout_accuracy"),
            "best test accuracy (%)": self._percent("best_test_accuracy"),
            "single clones' accuracy (%)": self._percent("final_single_clone_accuracy"),
            AVERAGED_ACCURACY: self._percent("final_averaged_accuracy"),
            "final agreement (%)": self._percent("final_agreement"),
            "best held-out agreement (%)": self._percent("best_heldout_agreement"),
            "best test agreement (%)": self._percent("best_test_agreement"),
            AVERAGED_AGREEMENT: self._percent("final_averaged_agreement"),
        }

    def costs(self) -> dict[str, str]:
        """The readable row of what it cost."""
        goals = [_goal(goal, cost, len(self.group)) for goal, cost in self.goals.items()]
        return self._label() | {
            "budget": f"{self.budget:,}",
            PRIOR: _count(self.prior),
            "queries spent": _count(self.spent),
            "queries to accuracy": "; ".join(goals) or "-",
            "collapsed": f"{self.collapsed} of {len(self.group)}",
        }

    def record(self) -> dict[str, Any]:
        """The same as plain numbers; shares are fractions."""
        record = {key.replace(" ", "_"): value for key, value in self.identity.items()} | {
            "victim_accuracy": self.victim_accuracy,
            "seeds": len(self.group),
            "budget": self.budget,
            **_range("spent", self.spent),
            "collapsed": self.collapsed,
        }
        if any(self.prior):
            record |= _range("prior_queries", self.prior)
        goals = {f"queries_to_{goal}": cost for goal, cost in self.goals.items()}
        shares = {key: number for key, number in self.shares.items() if number or "averaged" not in key}
        for key, number in (shares | goals).items():
            record[f"{key}_mean"] = number.mean if number else None
            record[f"{key}_ci95"] = number.half_width if number else None
            record[f"{key}_n"] = number.count if number else 0
        for value in self.published:
            record |= {f"published_{value.metric}": value.value / 100, f"source_{value.metric}": value.source}
        return record

    def _label(self) -> dict[str, str]:
        return {"experiment": self.group[0].experiment, "n": str(len(self.group))}

    def _percent(self, key: str) -> str:
        number = self.shares[key]
        return "-" if number is None else number.percent(len(self.group))


def _count(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    spread = f" ({low:,} to {high:,})" if low < high else ""
    return f"{sum(counts) / len(counts):,.0f}{spread}"


def _range(name: str, counts: Sequence[int]) -> dict[str, float]:
    return {f"{name}_mean": sum(counts) / len(counts), f"{name}_min": min(counts), f"{name}_max": max(counts)}


def _goal(goal: str, cost: Estimate | None, seeds: int) -> str:
    if cost is None:
        return f"{100 * float(goal):g} %: never (0 of {seeds})"
    spread = "" if cost.half_width is None else f" ± {cost.half_width:,.0f}"
    return f"{100 * float(goal):g} %: {cost.mean:,.0f}{spread} ({cost.count} of {seeds})"
