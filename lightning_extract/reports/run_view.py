"""What a person sees of one run: a short table and a plot."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lightning_extract.reports.curves import plot_run


def show_run(run_dir: Path) -> None:
    """Prints the summary of a run folder as a table and saves its plot there as ``curves.png``."""
    summary: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    plot_run(run_dir / "metrics.csv", run_dir / "curves.png", summary["victim_accuracy"])
    title = f"{summary['experiment']}, seed {summary['seed']}, {summary['status']}"
    table = Table(title=title, title_justify="left")
    for heading in ("", "queries", "agreement", "accuracy"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("victim", "", "", _percent(summary["victim_accuracy"]))
    for key, label in (("final", "final"), ("best_heldout", "best on held-out answers"), ("best_test", "best on test")):
        if summary[key] is not None:
            row = summary[key]
            table.add_row(label, f"{row['queries']:,}", _percent(row["agreement"]), _percent(row["accuracy"]))
    console = Console()
    console.print(table)
    account = summary["queries"]
    phases = ", ".join(f"{phase} {count:,}" for phase, count in account["by_phase"].items())
    console.print(
        f"queries: {account['spent']:,} of {account['budget']:,} ({phases}); {account['after_stop']} after the stop; "
        f"{account['reference']:,} free reference answers for evaluation",
        highlight=False,
    )
    for report in summary["collapse"]:
        console.print(f"COLLAPSE: {report}", style="bold red")
    console.print(f"run folder: {run_dir}", highlight=False, soft_wrap=True)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
