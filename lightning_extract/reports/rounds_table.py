"""Agreement by round, for pool attacks whose clones are trained anew after each purchase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_extract.reports.collect import Run
from lightning_extract.reports.statistics import Estimate, estimate
from lightning_extract.reports.tables import markdown_table, write_csv

NOTES = (
    "Agreement (%) on the test set at the end of each round, round 0 after the seed purchase; ± is half of a 95 % "
    "confidence interval (Student's t over the seeds).",
    "Queries include those of the validation samples. An experiment of a single round stands where its queries are.",
)


@dataclass(frozen=True)
class RoundRow:
    """One round of one experiment.

    Args:
        experiment: The experiment.
        number: The round, from 0.
        queries: Spent at its end, the mean over seeds.
        agreement: Over the seeds that have ended the round, as a fraction.
    """

    experiment: str
    number: int
    queries: int
    agreement: Estimate


def in_rounds(groups: Mapping[str, Sequence[Run]]) -> dict[str, Sequence[Run]]:
    """The experiments whose seeds all tell their rounds; none where no experiment has more than one."""
    found = {
        name: group
        for name, group in groups.items()
        if all({"round", "agreement"} <= run.curves.keys() for run in group)
    }
    return found if any(rounds_of(group) > 1 for group in found.values()) else {}


def rounds_of(group: Sequence[Run]) -> int:
    """The most rounds that a seed has ended; 0 for attacks without rounds."""
    return max(len(run.curves["round"].values) if "round" in run.curves else 0 for run in group)


def round_rows(groups: Mapping[str, Sequence[Run]]) -> list[RoundRow]:
    """One row per experiment and round."""
    rows = []
    for name, group in in_rounds(groups).items():
        seeds: dict[int, list[tuple[float, float]]] = {}
        for curve in (run.curves["agreement"] for run in group):
            assert curve.iterations is not None
            for queries, value, number in zip(curve.queries, curve.values, curve.iterations, strict=True):
                seeds.setdefault(int(number), []).append((queries, value))
        for number, points in sorted(seeds.items()):
            agreement = estimate(value for _, value in points)
            assert agreement is not None
            spent = round(sum(queries for queries, _ in points) / len(points))
            rows.append(RoundRow(name, number, spent, agreement))
    return rows


def write_rounds(rows: Sequence[RoundRow], out: Path) -> None:
    """Writes ``rounds.md``, experiments beside each other, and ``rounds.csv``."""
    names = list(dict.fromkeys(row.experiment for row in rows))
    counts = {name: max(row.agreement.count for row in rows if row.experiment == name) for name in names}
    several = {row.experiment for row in rows if row.number > 0}
    records = []
    for queries in sorted({row.queries for row in rows}):
        here = {row.experiment: row for row in rows if row.queries == queries}
        numbers = sorted({row.number for name, row in here.items() if name in several})
        record = {"queries": f"{queries:,}", "round": " or ".join(map(str, numbers)) or "-"}
        for name in names:
            heading = f"{name} (n = {counts[name]})"
            record[heading] = here[name].agreement.percent(counts[name]) if name in here else "-"
        records.append(record)
    notes = "\n".join(f"- {note}" for note in NOTES)
    (out / "rounds.md").write_text(f"{markdown_table('Agreement by round', records)}\n\n{notes}\n", encoding="utf-8")
    plain = [
        {
            "experiment": row.experiment,
            "round": row.number,
            "queries": row.queries,
            "agreement_mean": row.agreement.mean,
            "agreement_ci95": row.agreement.half_width,
            "agreement_n": row.agreement.count,
        }
        for row in rows
    ]
    write_csv(plain, out / "rounds.csv")
