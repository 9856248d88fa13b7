"""The ``report`` command: from run folders to tables and curves."""

from pathlib import Path

from jsonargparse import ArgumentParser
from rich.console import Console

from lightning_extract.errors import InputError
from lightning_extract.reports.collect import Run, find_run_folders, read_run, read_summary
from lightning_extract.reports.curves import plot_groups, usual_metrics
from lightning_extract.reports.grouping import group_runs
from lightning_extract.reports.labels import labels_of_groups, write_labels
from lightning_extract.reports.labels_plot import plot_labels
from lightning_extract.reports.paired import budget_notes, paired_rows, print_paired, write_paired
from lightning_extract.reports.published import read_published
from lightning_extract.reports.rounds_table import in_rounds, round_rows, write_rounds
from lightning_extract.reports.rows import Row
from lightning_extract.reports.tables import print_rows, run_record, write_csv, write_markdown
from lightning_extract.reports.transfer import transfer_rows, write_transfer
from lightning_extract.reports.transfer_plot import plot_transfer


def report(
    runs: list[Path],
    out: Path,
    metrics: list[str] | None = None,
    include_unfinished: bool = False,
    paired: str | None = None,
    published: Path | None = None,
) -> None:
    """Writes tables and curves over seeds, grouped by experiment.

    Runs of one experiment must agree in everything but the seed, the place of files and the hardware: a mean
    over different experiments would be a false number.

    Args:
        runs: Run folders or folders that hold them, searched to any depth.
        out: The folder to write table.md, table.csv, runs.csv and curves_<metric>.png to; transfer.md, transfer.csv
            and transfer.png where a run has a transfer.json; labels.csv and labels.png where runs tell the victim's
            labels; rounds.md, rounds.csv and curves_rounds.png of attacks in rounds.
        metrics: The metrics to draw against queries, by their column in metrics.csv; agreement, accuracy and, where
            they were logged, classes found and gradient cosines by default.
        include_unfinished: Count runs that have not spent their budget; otherwise a warning names each.
        paired: An experiment with which all others on its victim are compared, seed by seed, in final agreement;
            writes paired.md and paired.csv.
        published: A CSV file of published values to set beside the runs', with the columns experiment, metric
            (victim_accuracy, final_accuracy, accuracy_ratio or final_agreement), value (in percent) and source.

    Raises:
        InputError: A run is broken, its account does not add up, an experiment is a mixture or cannot be paired, or the
            published values are broken.
    """
    warnings, console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False), Console()
    collected, notes = _collect(runs, include_unfinished)
    for note in notes:
        warnings.print(f"warning: {note}", style="yellow")
    if not collected:
        raise InputError("all runs are unfinished; let them end or count them with --include_unfinished true")
    groups = group_runs(collected)
    transfers, transfer_notes = transfer_rows(groups)
    pairs = [] if paired is None else paired_rows(groups, paired)
    values = {} if published is None else read_published(published)
    if values and not values.keys() & groups.keys():
        notes.append(f"{published} tells of none of these experiments: {', '.join(groups)}.")
        warnings.print(f"warning: {notes[-1]}", style="yellow")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a folder for the report")
    out.mkdir(parents=True, exist_ok=True)
    for metric in metrics or usual_metrics(groups):
        for name in plot_groups(groups, metric, out / f"curves_{metric}.png"):
            if metrics or any(metric in run.curves for run in groups[name]):  # else it has no such quantity
                notes.append(f"{name} is not in curves_{metric}.png: a seed of it did not log {metric}.")
                warnings.print(f"warning: {notes[-1]}", style="yellow")
    rows = [Row(group, values.get(name, ())) for name, group in groups.items()]
    write_markdown(rows, notes, out / "table.md")
    write_csv([row.record() for row in rows], out / "table.csv")
    write_csv([run_record(run) for group in groups.values() for run in group], out / "runs.csv")
    print_rows(rows, console)
    if transfers:
        write_transfer(transfers, transfer_notes, out)
        plot_transfer(transfers, out / "transfer.png")
    if labels := labels_of_groups(groups):
        write_labels(labels, out / "labels.csv")
        plot_labels(labels, out / "labels.png")
    if rounds := round_rows(groups):
        write_rounds(rounds, out)
        plot_groups(in_rounds(groups), "agreement", out / "curves_rounds.png")
    if pairs:
        write_paired(pairs, out)
        print_paired(pairs, console)
        for note in budget_notes(pairs):
            warnings.print(f"warning: {note}", style="yellow")


def main(argv: list[str], parser_class: type[ArgumentParser] = ArgumentParser) -> None:
    """Reads the command line of ``report`` and runs it.

    Args:
        argv: What stands behind ``report``.
        parser_class: How errors of the command line are shown.

    Raises:
        InputError: As ``report``.
    """
    parser = parser_class(
        prog="lightning-extract report",
        usage="lightning-extract report RUN [RUN ...] --out OUT [--metric METRIC] [--include_unfinished true] "
        "[--paired EXPERIMENT] [--published FILE]",
        description="Tables and curves from run folders.",
    )
    # By hand, since jsonargparse wants a list as one word, "[a,b]", which no shell expands from runs/*.
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="Run folders or folders that hold them.")
    parser.add_function_arguments(report, skip={"runs", "metrics"})
    metric_help = "A column of metrics.csv to draw; may be repeated (absent: the usual ones)."
    parser.add_argument("--metric", action="append", type=str, help=metric_help)
    arguments = parser.parse_args(argv)
    report(
        arguments.runs,
        arguments.out,
        arguments.metric,
        arguments.include_unfinished,
        arguments.paired,
        arguments.published,
    )


def _collect(places: list[Path], include_unfinished: bool) -> tuple[list[Run], list[str]]:
    runs, notes = [], []
    for folder in find_run_folders(places):
        if not (folder / "summary.json").exists():
            notes.append(f"{folder} is left out: it has no summary.json, so the run was killed or still goes on.")
        elif read_summary(folder)["status"] in (
            "finished",
            "collapsed",
        ):  # a mean without collapsed seeds would flatter
            runs.append(read_run(folder))
        elif include_unfinished:
            runs.append(read_run(folder))
            notes.append(f"{folder} is unfinished and counted all the same.")
        else:
            notes.append(f"{folder} is left out: it is unfinished.")
    return runs, notes
