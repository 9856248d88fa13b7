"""The run folder's table of evaluations."""

import csv
from argparse import Namespace
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lightning_extract.durable_file import write_durably

# What a float32 carries.
SIGNIFICANT_DIGITS = 7
COUNTS = ("queries", "iteration", "classes_found", "stage", "round", "round_end")


def rounded(name: str, value: float) -> float:
    """A metric without the noise digits of float32; counts are whole numbers."""
    return int(value) if name in COUNTS else float(f"{value:.{SIGNIFICANT_DIGITS}g}")


class MetricsFile(Logger):
    """Writes ``metrics.csv``: one row an evaluation, and a resumed run continues the table.

    Lightning's own CSV logger deletes the rows of the run that it resumes.

    Args:
        folder: The run folder.
        key: The metric that numbers the rows: ``iteration`` for attacks, whose queries repeat when they train on after
            the last purchase, and ``epoch`` for victims.
    """

    def __init__(self, folder: Path, key: str) -> None:
        super().__init__()
        self.path = folder / "metrics.csv"
        self.key = key
        self._rows: dict[int, dict[str, float]] = {}
        self._begun = False

    @property
    def name(self) -> str:
        """Nothing: the file lies in the run folder itself."""
        return ""

    @property
    def version(self) -> str:
        """Nothing either."""
        return ""

    @rank_zero_only
    def resume_at(self, position: int) -> None:
        """Takes over the rows up to a position and drops what came after it, and rows that are not numbered."""
        self._rows, self._begun = {}, True
        if self.path.is_file():
            with self.path.open(newline="") as file:
                rows = [{name: _number(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
            self._rows = {int(row[self.key]): row for row in rows if self.key in row and row[self.key] <= position}

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds the metrics to the row of their key; metrics without the key are not evaluations."""
        if self.key in metrics:
            position = int(metrics[self.key])
            if not self._begun:
                self.resume_at(position - 1)
            self._rows.setdefault(position, {}).update({name: rounded(name, value) for name, value in metrics.items()})
            self._write()

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` is the record."""

    def _write(self) -> None:
        names = {name for row in self._rows.values() for name in row}
        first = [name for name in ("queries", self.key) if name in names]
        columns = [*first, *sorted(names.difference(first))]
        table = StringIO(newline="")
        writer = csv.DictWriter(table, columns, restval="")
        writer.writeheader()
        for position in sorted(self._rows):
            writer.writerow(self._rows[position] | {self.key: position})
        write_durably(self.path, table.getvalue().encode())


def _number(cell: str) -> float:
    # Whole numbers stay so: a resumed run writes the very text of an uninterrupted one.
    return int(cell) if cell.isdigit() else float(cell)
