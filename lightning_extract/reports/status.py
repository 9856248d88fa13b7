"""The ``status`` command: how far runs and the lines of a sweep are."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from jsonargparse import ArgumentParser
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_extract.errors import InputError
from lightning_extract.reports.run_state import RunState, State, planned_state, read_state
from lightning_extract.reports.sweep import Planned, read_sweep
from lightning_extract.reports.tables import write_csv

COLORS = {"finished": "green", "running": "cyan", "stopped": "yellow", "failed": "red", "collapsed": "red"}
# Each as long as a person still counts in it.
UNITS = (("s", 120, 1), ("min", 120, 60), ("h", 48, 3600), ("d", float("inf"), 86400))


def status(folders: list[Path], sweep: Path | None = None, options: str = "", csv: Path | None = None) -> None:
    """Prints how far runs are.

    Args:
        folders: Run folders or folders that hold them, searched to any depth; none are needed beside a sweep.
        sweep: A file with a line of options for each run, as in slurm/sweeps/: its runs are shown too, those without a
            run folder as "not started".
        options: What was added to every line of the sweep, in quotes: "--seed_everything 3".
        csv: A file to write the table to as well.

    Raises:
        InputError: There is no folder or run to look at, or a file cannot be read or written.
    """
    if not folders and sweep is None:
        raise InputError("there is nothing to look at; give run folders, a folder that holds them, or --sweep FILE")
    states = collect_states(folders, [] if sweep is None else read_sweep(sweep, options))
    if not states:
        raise InputError(f"{', '.join(map(str, folders))} holds no run of an attack; give the folder that a fit wrote")
    print_states(states, Console())
    if csv is not None:
        try:
            write_csv([_record(state) for state in states], csv)
        except OSError as error:
            raise InputError(
                f"{csv} cannot be written ({error.strerror}); give a file in a folder that exists"
            ) from error


def collect_states(places: Sequence[Path], planned: Sequence[Planned] = ()) -> list[RunState]:
    """The states of all runs, each once, by experiment and seed.

    Args:
        places: Run folders or folders that hold them.
        planned: The lines of a sweep.

    Raises:
        InputError: A place is no folder.
    """
    found: dict[Path, RunState | None] = {}
    for place in places:
        if not place.is_dir():
            raise InputError(f"{place} is no folder; give run folders or a folder that holds them")
        for folder in _run_folders(place):
            if folder.resolve() not in found:
                found[folder.resolve()] = read_state(folder)
    for run in planned:
        if run.folder.resolve() not in found:
            begun = _is_run(run.folder)
            found[run.folder.resolve()] = read_state(run.folder) if begun else planned_state(run)
    states = [state for state in found.values() if state is not None]
    return sorted(states, key=lambda state: (state.experiment, -1 if state.seed is None else state.seed, state.folder))


def print_states(states: Sequence[RunState], console: Console) -> None:
    """Prints a table of runs, with the age of their last evaluations, and how many are in which state."""
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("experiment", overflow="fold", min_width=14)
    for heading in ("seed", "state", "queries", "budget", "spent", "agreement", "accuracy", "age"):
        table.add_column(heading, justify="left" if heading == "state" else "right", overflow="fold")
    for state in states:
        table.add_row(
            escape(state.experiment),
            "" if state.seed is None else str(state.seed),
            f"[{COLORS.get(state.state, 'default')}]{state.state}",
            *("" if number is None else count(number) for number in (state.spent, state.budget)),
            *(
                "" if share is None else f"{100 * share:.{digits}f} %"
                for share, digits in ((state.share, 0), (state.agreement, 2), (state.accuracy, 2))
            ),
            "" if state.age is None else duration(state.age),
        )
    console.print(table)
    counts = Counter(state.state for state in states)
    console.print(
        f"{len(states)} runs: {', '.join(f'{counts[name]} {name}' for name in get_args(State) if counts[name])}",
        highlight=False,
        soft_wrap=True,
    )


def count(number: int) -> str:
    """A number of queries in a few characters; the exact one is in the CSV file.

    Example:
        >>> count(51_200), count(7_654_321)
        ('51,200', '7.65 M')
    """
    return f"{number:,}" if number < 1_000_000 else f"{number / 1e6:.2f} M"


def duration(seconds: float) -> str:
    """A duration as people say it.

    Example:
        >>> duration(90), duration(600), duration(10_000), duration(400_000)
        ('90 s', '10 min', '2 h', '4 d')
    """
    unit, _, size = next(each for each in UNITS if seconds < each[1] * each[2])
    return f"{seconds // size:.0f} {unit}"


def main(argv: list[str], parser_class: type[ArgumentParser] = ArgumentParser) -> None:
    """Reads the command line of ``status`` and runs it.

    Args:
        argv: What stands behind ``status``.
        parser_class: How errors of the command line are shown.

    Raises:
        InputError: As ``status``.
    """
    parser = parser_class(
        prog="lightning-extract status",
        usage="lightning-extract status [FOLDER ...] [--sweep FILE [--options OPTIONS]] [--csv FILE]",
        description="How far runs are. A run is running while a process of this host holds its folder's lock; one of "
        "another host counts as running while the folder has changed within ten minutes, or within three of its usual "
        "times between two evaluations. Else it has stopped, and the same command continues it, or failed, if there is "
        "no checkpoint.",
    )
    folder_help = "Run folders or folders that hold them, searched to any depth."
    parser.add_argument(
        "folders", nargs="*", type=Path, metavar="FOLDER", help=folder_help
    )  # as the shell expands them
    parser.add_function_arguments(status, skip={"folders"})
    arguments = parser.parse_args(argv)
    status(arguments.folders, arguments.sweep, arguments.options, arguments.csv)


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() or (folder / "summary.json").is_file()


def _run_folders(place: Path) -> Iterator[Path]:
    """Run folders at and below a place; what lies in one of them is looked through no further."""
    if _is_run(place):
        yield place
        return
    for below in sorted(place.iterdir()):
        if below.is_dir() and not below.is_symlink():
            yield from _run_folders(below)


def _record(state: RunState) -> dict[str, Any]:
    return {
        "folder": str(state.folder),
        "experiment": state.experiment,
        "seed": state.seed,
        "state": state.state,
        "queries": state.spent,
        "budget": state.budget,
        "spent_share": state.share,
        "agreement": state.agreement,
        "accuracy": state.accuracy,
        "seconds_since_evaluation": None if state.age is None else round(state.age),
    }
