"""How well evasion attacks carry over from clones to their victim: one run on the terminal, experiments as tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lightning_extract.errors import InputError
from lightning_extract.reports.collect import Run
from lightning_extract.reports.statistics import Estimate, estimate
from lightning_extract.reports.tables import markdown_table, write_csv

FORMAT_VERSION = 1
SETTINGS = ("name", "norm", "epsilon", "targeted", "steps", "step_size", "restarts")
RATES = {"rate": "victim fooled", "clone_rate": "clone fooled", "noise_rate": "fooled by noise"}
NOTES = (
    "± is half of a 95 % confidence interval (Student's t over the seeds, n of them); a run's own interval, over its "
    "images, is in its transfer.json.",
    "Attacks see the clone alone; all images are ones that the victim classifies correctly. Epsilon is in pixels in "
    "[0, 1].",
    "Fooled by noise: the victim, by random noise of the attack's norm and epsilon. What does no better has not "
    "transferred.",
    "Clone fooled counts against the victim's label too, so images that the clone gets wrong anyway are among them.",
)


@dataclass(frozen=True)
class TransferRow:
    """One evasion attack on one experiment.

    Args:
        experiment: The experiment.
        entries: What each of its seeds found, with the same settings.
    """

    experiment: str
    entries: Sequence[dict[str, Any]]

    @property
    def rates(self) -> dict[str, Estimate]:
        """Success on the victim, on the clone, and of noise, over seeds, as fractions."""
        found = {key: estimate(entry[key] for entry in self.entries) for key in RATES}
        return {key: rate for key, rate in found.items() if rate is not None}

    def results(self) -> dict[str, str]:
        """The readable row."""
        first = self.entries[0]
        cells = {"experiment": self.experiment, "n": str(len(self.entries))} | describe(first)
        cells["step / epsilon"] = f"{first['step_size']:.3g}"
        return cells | {f"{RATES[key]} (%)": rate.percent() for key, rate in self.rates.items()}

    def record(self) -> dict[str, Any]:
        """The same as plain numbers; rates are fractions."""
        record: dict[str, Any] = {"experiment": self.experiment, "seeds": len(self.entries)}
        record |= {key: self.entries[0][key] for key in SETTINGS}
        record["samples_mean"] = sum(entry["samples"] for entry in self.entries) / len(self.entries)
        for key, rate in self.rates.items():
            record |= {f"{key}_mean": rate.mean, f"{key}_ci95": rate.half_width}
        return record


def describe(entry: dict[str, Any]) -> dict[str, str]:
    """An attack as cells of a table: ``pgd-10 x 5`` is PGD of 10 steps with 5 restarts."""
    attack = entry["name"] if entry["name"] == "fgsm" else f"{entry['name']}-{entry['steps']}"
    attack += f" x {entry['restarts']}" if entry["restarts"] > 1 else ""
    attack += ", targeted" if entry["targeted"] else ""
    return {"attack": attack, "norm": str(entry["norm"]), "epsilon": f"{entry['epsilon']:.3g}"}


def read_transfer(folder: Path) -> dict[str, Any] | None:
    """Reads a run folder's ``transfer.json``; None where there is none.

    Raises:
        InputError: It is broken or of another format.
    """
    path = folder / "transfer.json"
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        if record["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version {record['format_version']}, this report reads {FORMAT_VERSION}")
        needed = [record["victim"]["weights_sha256"], record["clone"]["queries"]]
        needed += [entry[key] for entry in record["evasions"] for key in (*SETTINGS, *RATES, "samples", "interval")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}); move it away or run test again") from error
    return record


def show_transfer(run_dir: Path) -> None:
    """Prints all that a run folder's ``transfer.json`` holds."""
    record = read_transfer(run_dir)
    assert record is not None
    title = f"transferability to {record['victim']['name']}: images that fool it, in percent"
    table = Table(title=title, title_justify="left")
    for heading in (*describe(record["evasions"][0]), "images", "victim", "clone", "noise"):
        table.add_column(heading, justify="left" if heading == "attack" else "right", no_wrap=heading == "victim")
    for entry in record["evasions"]:
        low, high = (f"{100 * end:.1f}" for end in entry["interval"])
        rates = [f"{100 * entry[key]:.1f}" for key in RATES]
        table.add_row(*describe(entry).values(), str(entry["samples"]), f"{rates[0]} [{low}, {high}]", *rates[1:])
    console = Console()
    console.print(table)
    console.print("in brackets 95 % confidence; clone: images that fool the clone; noise: random noise of equal size")
    console.print(f"written: {run_dir / 'transfer.json'}", highlight=False, soft_wrap=True)


def transfer_rows(groups: Mapping[str, Sequence[Run]]) -> tuple[list[TransferRow], list[str]]:
    """One row per experiment and attack, and what a reader must know.

    Raises:
        InputError: A file is broken or about another victim.
    """
    rows, notes = [], []
    for experiment, group in groups.items():
        found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for run in group:
            record = read_transfer(run.folder)
            if record is None:
                continue
            if record["victim"]["weights_sha256"] != run.summary["victim"]["weights_sha256"]:
                raise InputError(f"{run.folder / 'transfer.json'} is about another victim than its run; run test again")
            measured, spent = record["clone"]["queries"], run.summary["queries"]["spent"]
            if measured != spent:
                notes.append(f"{run.folder} was measured after {measured:,} of its {spent:,} queries.")
            for entry in record["evasions"]:
                found.setdefault(tuple(entry[key] for key in SETTINGS), []).append(entry)
        rows += [TransferRow(experiment, same) for same in found.values()]
    return rows, notes


def write_transfer(rows: Sequence[TransferRow], notes: Sequence[str], out: Path) -> None:
    """Writes ``transfer.md`` and ``transfer.csv``."""
    table = markdown_table("Transferability", [row.results() for row in rows])
    remarks = "\n".join(f"- {note}" for note in (*NOTES, *notes))
    (out / "transfer.md").write_text(f"{table}\n\n{remarks}\n", encoding="utf-8")
    write_csv([row.record() for row in rows], out / "transfer.csv")
