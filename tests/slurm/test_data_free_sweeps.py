"""The sweeps of DFME, DFMS, Dual Students and DisGUIDE: seeds, ablations and budgets."""

from collections import Counter, defaultdict
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_extract.reports.sweep import read_sweep
from tests.command_line import CONFIGS
from tests.config_files import PAPER, leaves, read, settings, the_parser

SWEEPS = CONFIGS.parent / "slurm" / "sweeps"
FILES = sorted(set(SWEEPS.glob("*.txt")) - set(SWEEPS.glob("activethief_*.txt")))
NAMES = ["dfme", "dfms", "dual_students", "disguide"]
# ours, but for the four runs of DisGUIDE's figures and the five of its tables
SEEDS = {"dfme_ablations": {3}, "dfms_proxies": {3}, "dual_students_ablations": {3}, "budgets_c10": {3}}
SEEDS |= {f"{name}_seeds": {5} for name in NAMES} | {"disguide_ablations": {4, 5}}

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def options(line: str) -> dict[str, str]:
    words = line.split()
    return {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}


def lines(path: Path) -> list[dict[str, str]]:
    return [options(line) for line in path.read_text().splitlines()]


def experiment(given: dict[str, str]) -> str:
    return given.get("experiment", Path(given["config"]).stem)


@cache
def stated(stem: str) -> dict[str, Any]:
    config = read(CONFIGS / f"{stem}.yaml")
    return dict(leaves({name: config[name]["init_args"] for name in ("model", "data")}))


def test_there_is_nothing_else() -> None:
    assert {path.stem for path in FILES} == SEEDS.keys()
    assert all(path.suffix == ".txt" for path in SWEEPS.iterdir())


@each_file
def test_seeds_of_an_experiment_differ_in_the_seed_alone(path: Path) -> None:
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for given in lines(path):
        groups[experiment(given)].append(given)
    for group in groups.values():
        assert len(group) in SEEDS[path.stem]
        assert [given.pop("seed_everything") for given in group] == [str(seed) for seed in range(len(group))]
        assert all(given == group[0] for given in group)


def test_an_experiment_is_in_one_file_and_a_changed_one_has_a_name_of_its_own() -> None:
    runs = Counter((experiment(given), given["seed_everything"]) for path in FILES for given in lines(path))
    assert set(runs.values()) == {1}
    for given in (given for path in FILES for given in lines(path)):
        changed = {key: value for key, value in given.items() if key.split(".")[0] in ("model", "data")}
        assert bool(changed) == ("experiment" in given)
        if changed:
            assert not (CONFIGS / f"{experiment(given)}.yaml").exists()
            # Each change changes something, or the line would be another experiment by name alone.
            before = stated(Path(given["config"]).stem)
            assert all(before[key] != yaml.safe_load(value) for key, value in changed.items()), given


@each_file
def test_all_lines_are_understood(path: Path) -> None:
    # The parser looks at every value, but a config takes it long: so all lines of one are given together.
    together: dict[str, list[str]] = defaultdict(list)
    for given in lines(path):
        together[given.pop("config")] += [word for name, value in given.items() for word in (f"--{name}", value)]
    for config, arguments in together.items():
        the_parser().parse_args(["fit", "--config", str(CONFIGS.parent / config), *arguments])


def test_all_paper_configs_of_these_attacks_are_run() -> None:
    wanted = {path.stem for path in PAPER if path.stem.startswith(tuple(NAMES))}
    assert {Path(given["config"]).stem for path in FILES for given in lines(path)} == wanted


def test_budgets_are_those_of_every_attack_and_access() -> None:
    cells = Counter(
        (Path(given["config"]).stem, given["model.threat_model.query_budget"])
        for given in lines(SWEEPS / "budgets_c10.txt")
    )
    attacks = ("dfme_c10", *(f"{name}_c10{access}" for name, access in product(NAMES[1:], ("", "_hard"))))
    elsewhere = {("dfms_c10_hard", 8), ("disguide_c10", 8), ("disguide_c10_hard", 8)}
    wanted = {cell for cell in product(attacks, (2, 8)) if cell not in elsewhere}
    assert cells == {(attack, f"{millions}_000_000"): 3 for attack, millions in wanted}
    budgets = {stem: settings(CONFIGS / f"{stem}.yaml")["threat_model"]["query_budget"] for stem in attacks}
    assert budgets["dfms_c10_hard"] == budgets["disguide_c10_hard"] == 8_000_000


def test_dfms_warms_up_for_ten_passes_whatever_its_budget() -> None:
    found = 0
    for given in lines(SWEEPS / "budgets_c10.txt"):
        if "dfms" in given["config"]:
            iterations = (int(given["model.threat_model.query_budget"]) - 140_000) // 64
            passes = iterations / (50_000 / 64)
            assert float(given["model.stages.alternating.schedule.warmup"]) * passes == pytest.approx(10, abs=0.05)
            found += 1
    assert found == 9


def test_status_finds_the_folders_that_the_command_line_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    planned = read_sweep(SWEEPS / "dfme_ablations.txt")
    assert [str(run.folder) for run in planned[2:5]] == [
        "runs/dfme_c10_kl/seed_2",
        "runs/dfme_c10_directions_5/seed_0",
        "runs/dfme_c10_directions_5/seed_1",
    ]
    assert {run.budget for run in planned} == {20_000_000}
