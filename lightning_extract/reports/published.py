"""Published values, which stand beside those of the runs."""

import csv
from dataclasses import dataclass
from pathlib import Path

from lightning_extract.errors import InputError

COLUMNS = ["experiment", "metric", "value", "source"]
METRICS = {
    "victim_accuracy": "victim accuracy",
    "final_accuracy": "accuracy",
    "accuracy_ratio": "clone / victim accuracy",
    "final_agreement": "agreement",
}


@dataclass(frozen=True)
class Published:
    """A published value.

    Args:
        metric: Its column in table.csv, without ``_mean``.
        value: In percent, as papers print it.
        source: Where it stands.
    """

    metric: str
    value: float
    source: str

    def __str__(self) -> str:
        return f"{METRICS[self.metric]} {self.value:.2f} ({self.source})"


def read_published(path: Path) -> dict[str, list[Published]]:
    """Reads a table of published values, by experiment.

    Args:
        path: A CSV file with the columns experiment, metric, value (in percent) and source. It may tell of experiments
            that the report does not have.

    Raises:
        InputError: The file cannot be read, or a line is wrong.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"published: {path} cannot be read ({error}); give a CSV file") from error
    if not rows or rows[0] != COLUMNS:
        raise InputError(f"published: {path} must begin with the line {','.join(COLUMNS)}")
    found: dict[str, list[Published]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        try:
            experiment, metric, cell, source = row
            value = float(cell)
        except ValueError as error:
            raise InputError(f"published: line {number} of {path} is wrong ({error}); mend or remove it") from error
        if metric not in METRICS:
            raise InputError(f'published: line {number} of {path} has metric "{metric}"; give {", ".join(METRICS)}')
        if not 1 < value < 1000:
            raise InputError(f"published: line {number} of {path} has value {cell}; give percent, 81.5 and not 0.815")
        if any(metric == other.metric for other in found.get(experiment, [])):
            raise InputError(f"published: line {number} of {path} gives {metric} of {experiment} again; keep one")
        found.setdefault(experiment, []).append(Published(metric, value, source))
    return found
