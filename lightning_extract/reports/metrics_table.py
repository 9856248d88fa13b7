"""From ``metrics.csv`` to curves."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_extract.errors import InputError

# The columns that place a row. A run may train on after its last purchase: then rows share their queries and the
# iteration alone numbers them. Older tables have no iterations.
PLACE = ("queries", "iteration")


class Curve(NamedTuple):
    """One metric of one run: never decreasing queries, the values there and, if known, increasing iterations.

    Where an attack has rounds, the numbers of the rounds may stand for the iterations.
    """

    queries: NDArray[np.float64]
    values: NDArray[np.float64]
    iterations: NDArray[np.float64] | None = None


def read_metrics(path: Path) -> dict[str, Curve]:
    """Reads ``metrics.csv``: first column ``queries``, one row per evaluation, cells may be empty.

    Raises:
        InputError: The file is missing or empty, rows are out of order, or a cell is no number.
    """
    try:
        rows = list(csv.reader(path.read_text().splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); restore it or leave the run out") from error
    if len(rows) < 2 or rows[0][:1] != ["queries"]:
        raise InputError(
            f'{path} is broken: it needs a header that begins with "queries" and a row per evaluation; '
            "leave the run out"
        )
    header = rows[0]
    place = [name for name in PLACE if name in header]
    last = dict.fromkeys(place, -1.0)
    points: dict[str, list[tuple[float, ...]]] = {name: [] for name in header if name not in place}
    for number, row in enumerate(rows[1:], start=2):
        try:
            cells = {name: float(cell) for name, cell in zip(header, row, strict=True) if cell or name in place}
        except ValueError as error:
            raise InputError(f"{path} is broken in line {number} ({error}); restore it or leave the run out") from error
        here = {name: cells.pop(name) for name in place}
        for name, value in here.items():
            in_order = value > last[name] or (name != place[-1] and value == last[name])
            if not (in_order and value >= 0 and value.is_integer()):
                raise InputError(
                    f"{path} is broken in line {number}: {name} {row[header.index(name)]} after {last[name]:.0f} "
                    "do not increase; leave the run out"
                )
        last = here
        for name, value in cells.items():
            queries, *iteration = here.values()
            points[name].append((queries, value, *iteration))
    return {name: Curve(*np.array(values).T) for name, values in points.items() if values}
