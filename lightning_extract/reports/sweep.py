"""What the lines of a sweep are called: experiment, seed and run folder, as the command line makes them."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lightning_extract.errors import InputError

BUDGET = "model.threat_model.query_budget"


class Planned(NamedTuple):
    """A run that a line of a sweep asks for."""

    folder: Path
    experiment: str
    seed: int
    budget: int | None


def read_sweep(path: Path, more: str = "") -> list[Planned]:
    """Reads a sweep, a line of options for each run.

    Args:
        path: The file.
        more: Options that are added to every line, and prevail.

    Raises:
        InputError: The file is missing or empty, a line is no list of options, or its config cannot be read.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"sweep {path} cannot be read ({error}); give a file like those in slurm/sweeps/") from error
    if not lines:
        raise InputError(f"sweep {path} has no lines; give a file like those in slurm/sweeps/")
    return [_plan(f"{line} {more}", f"line {number} of sweep {path}") for number, line in enumerate(lines, start=1)]


def _plan(line: str, where: str) -> Planned:
    given = _options(line, where)
    if "config" not in given:
        raise InputError(f"{where} has no --config; give a file like those in slurm/sweeps/")
    config = _read_config(given["config"], where)
    settings: dict[str, Any] = {name: config.get(name) for name in ("experiment", "run_dir", "seed_everything")} | given
    experiment = settings["experiment"] or Path(given["config"]).stem
    seed = _whole(settings["seed_everything"] or 0, f"--seed_everything in {where}")
    folder = settings["run_dir"] or Path("runs") / experiment / f"seed_{seed}"
    budget = given.get(BUDGET, budget_of(config))
    return Planned(Path(folder), experiment, seed, None if budget is None else _whole(budget, f"--{BUDGET} in {where}"))


def budget_of(config: dict[str, Any]) -> Any:
    """The query budget that a config states; None where it states none, as that of a victim."""
    node: Any = config
    for part in ("model", "init_args", "threat_model", "query_budget"):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _options(line: str, where: str) -> dict[str, str]:
    words = [part for word in line.split() for part in (word.split("=", 1) if word.startswith("--") else [word])]
    names, values = words[::2], words[1::2]
    if len(names) != len(values) or not all(name.startswith("--") for name in names):
        raise InputError(f"{where} is no list of options; give pairs as --config FILE --seed_everything 3")
    return {name.removeprefix("--"): value for name, value in zip(names, values, strict=True)}


def _whole(value: Any, what: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is {value}; give a whole number") from error


@cache
def _read_config(path: str, where: str) -> dict[str, Any]:
    try:
        config = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"config {path} of {where} cannot be read ({error}); start where its path is right") from error
    if not isinstance(config, dict):
        raise InputError(f"config {path} of {where} holds no settings; give a file like those in configs/")
    return config
