"""Experiments against a base, seed by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_extract.errors import InputError
from lightning_extract.reports.collect import Run
from lightning_extract.reports.statistics import Estimate, estimate
from lightning_extract.reports.tables import markdown_table, write_csv

NOTES = (
    "Final agreement minus that of the base with the same seed, in percentage points; ± is half of a 95 % confidence "
    "interval (Student's t over the pairs).",
)


@dataclass(frozen=True)
class PairedRow:
    """One experiment against the base.

    Args:
        experiment: The experiment.
        base: What it is compared with.
        seeds: The seeds that both have.
        difference: Of final agreement over these seeds, as a fraction.
        budgets: Query budgets of experiment and base.
    """

    experiment: str
    base: str
    seeds: tuple[int, ...]
    difference: Estimate
    budgets: tuple[int, int]

    def results(self) -> dict[str, str]:
        """The readable row."""
        return {
            "experiment": self.experiment,
            "pairs": str(len(self.seeds)),
            f"final agreement minus {self.base} (points)": self.difference.percent(),
        }


def paired_rows(groups: Mapping[str, Sequence[Run]], base: str) -> list[PairedRow]:
    """One row for each other experiment on the base's victim.

    Raises:
        InputError: The base is unknown, is alone with its victim, or shares no seed with an experiment.
    """
    if base not in groups:
        raise InputError(f'paired: there is no experiment "{base}" among the runs; choose one of {", ".join(groups)}')
    victim = _victim(groups[base])
    others = {name: group for name, group in groups.items() if name != base and _victim(group) == victim}
    if not others:
        raise InputError(
            f'paired: no other experiment attacks the victim of "{base}" (weights {victim[:12]}); add runs of one'
        )
    return [_compare(base, groups[base], name, group) for name, group in others.items()]


def write_paired(rows: Sequence[PairedRow], out: Path) -> None:
    """Writes ``paired.md`` and ``paired.csv``."""
    table = markdown_table("Paired differences", [row.results() for row in rows])
    remarks = "\n".join(f"- {note}" for note in (*NOTES, *budget_notes(rows)))
    (out / "paired.md").write_text(f"{table}\n\n{remarks}\n", encoding="utf-8")
    records = [
        {
            "experiment": row.experiment,
            "base": row.base,
            "pairs": len(row.seeds),
            "agreement_difference_mean": row.difference.mean,
            "agreement_difference_ci95": row.difference.half_width,
            "seeds": "; ".join(map(str, row.seeds)),
        }
        for row in rows
    ]
    write_csv(records, out / "paired.csv")


def print_paired(rows: Sequence[PairedRow], console: Console) -> None:
    """Prints the same table on the terminal."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in rows[0].results():
        table.add_column(escape(heading), overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row.results().values()))
    console.print(table)


def budget_notes(rows: Sequence[PairedRow]) -> list[str]:
    """A warning for each comparison of different budgets."""
    return [
        f"{row.experiment} has a budget of {row.budgets[0]:,} queries, {row.base} one of {row.budgets[1]:,}."
        for row in rows
        if row.budgets[0] != row.budgets[1]
    ]


def _compare(base: str, base_group: Sequence[Run], name: str, group: Sequence[Run]) -> PairedRow:
    ours, theirs = ({run.seed: run.summary["final"]["agreement"] for run in runs} for runs in (group, base_group))
    seeds = tuple(sorted(ours.keys() & theirs.keys()))
    difference = estimate(ours[seed] - theirs[seed] for seed in seeds)
    if difference is None:
        raise InputError(
            f'paired: "{name}" has the seeds {_list(ours)} and "{base}" {_list(theirs)}, none in common; '
            "run both with the same seeds or leave one out"
        )
    budgets = [int(runs[0].summary["queries"]["budget"]) for runs in (group, base_group)]
    return PairedRow(name, base, seeds, difference, (budgets[0], budgets[1]))


def _victim(group: Sequence[Run]) -> str:
    return str(group[0].summary["victim"]["weights_sha256"])


def _list(seeds: Mapping[int, float]) -> str:
    return ", ".join(map(str, sorted(seeds)))
