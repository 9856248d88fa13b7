"""The files and the print of a report: Markdown, CSV, terminal."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_extract.reports.collect import Run, flatten
from lightning_extract.reports.rows import AVERAGED_ACCURACY, OPTIONAL, PRIOR, PUBLISHED, Row

LABEL_WIDTH, CELL_WIDTH = 30, 24  # characters on the terminal
NOTES = (
    "± is half of a 95 % confidence interval (Student's t over the seeds, n of them); one seed has none.",
    "Final is the attack's last clone (all clones voting), the headline.",
    "Best held-out is chosen on bought answers, best test on the test set itself, which no attacker has.",
    "Queries to a goal are averaged over the seeds that reached it, whose count stands beside.",
)
OPTIONAL_NOTES = {
    PRIOR: "Prior queries were spent by the runs whose clones were the start; no budget here counts them.",
    AVERAGED_ACCURACY: "The averaged clone has weights averaged over training: of Dual Students the first clone, of "
    "DFMS the average, or none, that does best on bought validation images.",
    PUBLISHED: "Published values were given with the report; they are of the setting that their source describes.",
}


def write_markdown(rows: Sequence[Row], notes: Iterable[str], path: Path) -> None:
    """Writes the tables as Markdown with what a reader must know below."""
    sections = {title: _without_absent(records) for title, records in _sections(rows).items()}
    headings = {heading for records in sections.values() for heading in records[0]}
    explained = [note for heading, note in OPTIONAL_NOTES.items() if heading in headings]
    parts = [markdown_table(title, records) for title, records in sections.items()]
    parts.append("\n".join(f"- {note}" for note in [*NOTES, *explained, *notes]))
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def markdown_table(title: str, records: Sequence[dict[str, str]]) -> str:
    """A table under a heading; the records' keys are the columns."""
    lines = [list(records[0]), ["---"] * len(records[0]), *(list(record.values()) for record in records)]
    return f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_csv(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes records with the union of their keys as columns; what a record lacks stays empty."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def run_record(run: Run) -> dict[str, Any]:
    """One tidy row of a run: its folder and its whole summary, lists joined by semicolons."""
    leaves = {
        key: "; ".join(map(str, value)) if isinstance(value, list) else value for key, value in flatten(run.summary)
    }
    return {"folder": str(run.folder)} | leaves


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """Prints the same numbers on the terminal, one column an experiment and as many beside each other as fit."""
    beside = max(1, (console.width - LABEL_WIDTH) // CELL_WIDTH)
    everything = _without_absent([row.results() | row.choices() | row.costs() for row in rows])
    for start in range(0, len(rows), beside):
        records = everything[start : start + beside]
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for heading in ("experiment", *(record.pop("experiment") for record in records)):
            table.add_column(escape(heading), overflow="fold")
        for key in records[0]:
            table.add_row(key, *(escape(record[key]) for record in records))
        console.print(table)


def _sections(rows: Sequence[Row]) -> dict[str, list[dict[str, str]]]:
    return {
        "Results": [row.results() for row in rows],
        "Final and other choices of the clone": [row.choices() for row in rows],
        "Queries": [row.costs() for row in rows],
    }


def _without_absent(records: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Leaves out the optional columns that say nothing of any experiment."""
    absent = {key for key, cell in OPTIONAL.items() if all(record.get(key, cell) == cell for record in records)}
    return [{key: cell for key, cell in record.items() if key not in absent} for record in records]
