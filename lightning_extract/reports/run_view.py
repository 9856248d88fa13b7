"""What a person sees of one run: a short table and a plot."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lightning_extract.reports.discovery import describe_discovery, discovery_curve, victim_classes
from lightning_extract.reports.labels import label_shares
from lightning_extract.reports.labels_plot import plot_labels
from lightning_extract.reports.run_plot import plot_run

POINTS = {"final": "final", "best_heldout": "best on held-out answers", "best_test": "best on test"}


def show_run(run_dir: Path) -> None:
    """Prints the summary of a run folder as a table and saves its plots there, ``curves.png`` and ``labels.png``."""
    summary: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    plot_run(
        run_dir / "metrics.csv",
        run_dir / "curves.png",
        summary["victim_accuracy"],
        discovery_curve(summary),
        victim_classes(summary),
    )
    labels = label_shares(summary["experiment"], [summary])
    if labels is not None:
        plot_labels([labels], run_dir / "labels.png")
    title = f"{summary['experiment']}, seed {summary['seed']}, {summary['status']}"
    table = Table(title=title, title_justify="left")
    for heading in ("", "queries", "agreement", "accuracy"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("victim", "", "", _percent(summary["victim_accuracy"]))
    for key, label in POINTS.items():
        if summary[key] is not None:
            table.add_row(label, *_cells(summary[key]))
        if key == "final" and "accuracy_averaged" in summary["final"]:
            table.add_row("averaged weights", *_cells(summary["final"], "_averaged"))
    console = Console()
    console.print(table)
    account = summary["queries"]
    phases = ", ".join(f"{phase} {count:,}" for phase, count in account["by_phase"].items())
    console.print(
        f"queries: {account['spent']:,} of {account['budget']:,} ({phases}); {account['after_stop']} after the stop; "
        f"{account['reference']:,} free reference answers for evaluation",
        highlight=False,
    )
    for line in (_start(summary), describe_discovery(summary)):
        if line is not None:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    for report in summary["collapse"]:
        console.print(f"COLLAPSE: {report}", style="bold red")
    console.print(f"run folder: {run_dir}", highlight=False, soft_wrap=True)


def _cells(point: dict[str, Any], suffix: str = "") -> tuple[str, str, str]:
    agreement, accuracy = point[f"agreement{suffix}"], point[f"accuracy{suffix}"]
    return f"{point['queries']:,}", _percent(agreement), _percent(accuracy)


def _start(summary: dict[str, Any]) -> str | None:
    runs = [f"{start['run']} ({start['queries']:,} queries)" for start in summary.get("start_from") or ()]
    return f"start: clones of {' and '.join(runs)}, not counted in this budget" if runs else None


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
