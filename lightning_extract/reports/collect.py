"""From folders to runs: finds them, reads them and checks their account of queries."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from lightning_extract.errors import InputError
from lightning_extract.reports.discovery import discovery_curve
from lightning_extract.reports.metrics_table import Curve, read_metrics
from lightning_extract.reports.rounds import at_round_ends

FORMAT_VERSION = 1
# fmt: off
REQUIRED = (
    "attack", "access", "victim_accuracy", "victim.dataset", "victim.weights_sha256",
    "queries.budget", "queries.spent", "queries.by_phase", "queries.after_stop",
    "final.queries", "final.accuracy", "final.agreement", "best_heldout", "best_test",
    "queries_to_accuracy", "collapse",
)
# fmt: on


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Args:
        folder: The run folder.
        config: The resolved config.
        summary: The summary, complete and with an account that adds up.
        curves: Each logged metric against queries; the classes found come from their exact history if there is one.
            Where the attack has rounds, a metric is what it was at the end of each.
    """

    folder: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    curves: dict[str, Curve]

    @property
    def experiment(self) -> str:
        """The config's name, by which runs are grouped."""
        return str(self.summary["experiment"])

    @property
    def seed(self) -> int:
        """The seed of every random draw of the run."""
        return int(self.summary["seed"])

    @property
    def prior(self) -> int:
        """Queries spent before, by the runs whose clones were the start of this one."""
        return int(self.summary["queries"].get("prior", 0))

    @property
    def finished(self) -> bool:
        """Whether the attack ran to its end, or was ended since it had collapsed."""
        return self.summary["status"] in ("finished", "collapsed")


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Walks nested dictionaries as pairs ``("model.init_args.victim", value)``; an empty one is a leaf."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def find_run_folders(places: Iterable[Path]) -> list[Path]:
    """Finds run folders, each once, in sorted order.

    A folder with metrics by queries but without a summary counts too: it is a run that was killed.

    Args:
        places: Run folders or parents of them.

    Raises:
        InputError: A place does not exist or holds no run.
    """
    found: dict[Path, Path] = {}
    for place in places:
        if not place.is_dir():
            raise InputError(f"{place} is no folder; give run folders or a folder that holds them")
        folders = {path.parent for path in place.rglob("summary.json")}
        metrics = place.rglob("metrics.csv")
        folders |= {path.parent for path in metrics if path.read_bytes().startswith(b"queries")}
        if not folders:
            raise InputError(f"{place} holds no run (no summary.json in it or below); give the folder that a fit wrote")
        for folder in sorted(folders):
            found.setdefault(folder.resolve(), folder)
    return sorted(found.values())


def read_run(folder: Path) -> Run:
    """Reads a run folder and checks it.

    Raises:
        InputError: A file is missing or broken, or the account of queries does not add up.
    """
    summary = read_summary(folder)
    _require(REQUIRED, summary, folder)
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"{folder / 'config.yaml'} cannot be read ({error}); restore it or leave the run out"
        ) from error
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'config.yaml'} is no config (no keys in it); restore it or leave the run out")
    curves = read_metrics(folder / "metrics.csv")
    discovery = discovery_curve(summary)
    if discovery is not None:
        curves["classes_found"] = discovery
    run = Run(folder, config, summary, curves)
    check_account(run)
    return replace(run, curves=at_round_ends(curves))


def read_summary(folder: Path) -> dict[str, Any]:
    """Reads ``summary.json`` as far as every run has it: version, status, experiment and seed.

    Raises:
        InputError: The file is missing, broken or of another format.
    """
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); restore it or leave the run out") from error
    version = summary.get("format_version") if isinstance(summary, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} has format_version {version} and this report reads {FORMAT_VERSION}; use the version that wrote it"
        )
    _require(("status", "experiment", "seed"), summary, folder)
    return dict(summary)


def _require(keys: Iterable[str], summary: dict[str, Any], folder: Path) -> None:
    for key in keys:
        node: Any = summary
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                raise InputError(f'{folder / "summary.json"} lacks "{key}"; restore it or leave the run out')
            node = node[part]


def check_account(run: Run) -> None:
    """Checks that the run's account of queries adds up.

    Raises:
        InputError: It does not, so no number of the run can be set against its queries.
    """
    account = run.summary["queries"]
    by_phase = sum(account["by_phase"].values())
    measured = max([run.summary["final"]["queries"], *(curve.queries[-1] for curve in run.curves.values())])
    if by_phase != account["spent"]:
        reason = f"its phases sum to {by_phase:,} queries but {account['spent']:,} were spent"
    elif account["spent"] > account["budget"]:
        reason = f"{account['spent']:,} queries were spent of a budget of {account['budget']:,}"
    elif account["after_stop"] != 0:
        reason = f"{account['after_stop']:,} queries came after the attack had stopped"
    elif measured > account["spent"]:
        reason = f"it was evaluated at {measured:,.0f} queries but {account['spent']:,} were spent"
    else:
        return
    raise InputError(f"the account of {run.folder} does not add up: {reason}; leave the run out and repeat it")
