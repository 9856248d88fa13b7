"""Run folders made by hand."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_extract.reports.collect import read_run
from lightning_extract.reports.rows import Row

CONFIG: dict[str, Any] = {
    "seed_everything": 0,
    "trainer": {"accelerator": "auto", "devices": 1, "precision": "32-true"},
    "model": {
        "class_path": "DisGUIDE",
        "init_args": {"threat_model": {"victim": "victims/a", "query_budget": 1000}, "batch_size": 256},
    },
    "data": {"class_path": "GeneratorStream", "init_args": {"dataset": "cifar10", "root": "data"}},
}
METRICS = """queries,iteration,accuracy,agreement,kl
0,0,0.1,0.1,
400,2,0.5,0.55,1.5
1000,5,0.7,0.8,0.8
1000,9,0.8,0.85,0.5
"""
MakeRun = Callable[..., Path]


def change(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of nested dictionaries with dotted keys set."""
    changed = copy.deepcopy(tree)
    for key, value in changes.items():
        *parents, leaf = key.split(".")
        node = changed
        for part in parents:
            node = node[part]
        node[leaf] = value
    return changed


def summary_of(experiment: str, seed: int, accuracy: float, agreement: float) -> dict[str, Any]:
    """A summary in which everything adds up."""
    point = {"queries": 1000, "iteration": 9, "accuracy": accuracy, "agreement": agreement}
    return {
        "format_version": 1,
        "status": "finished",
        "experiment": experiment,
        "attack": "DisGUIDE",
        "access": "soft",
        "input_space": "pre_transform",
        "seed": seed,
        "victim": {
            "name": "a",
            "network": "lenet5",
            "dataset": "cifar10",
            "card_accuracy": 0.9,
            "weights_sha256": "abc",
        },
        "victim_accuracy": 0.95,
        "queries": {
            "budget": 1000,
            "spent": 1000,
            "by_phase": {"generator": 400, "clone": 600},
            "answered": 1000,
            "after_stop": 0,
            "reference": 10,
        },
        "final": {
            **point,
            "kl": 0.5,
            "accuracy_clone_0": accuracy - 0.02,
            "accuracy_clone_1": accuracy - 0.04,
        },
        "best_heldout": {**point, "heldout_agreement": 0.9, "queries": 400},
        "best_test": point,
        "queries_to_accuracy": {"0.5": 400, "0.881": None},
        "collapse": [],
        "wall_time_seconds": 10.0,
        "queries_per_second": 100.0,
        "versions": {"torch": "2"},
        "git_commit": None,
    }


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run folder; dotted keys change its config or its summary."""

    def make(
        experiment: str = "toy",
        seed: int = 0,
        accuracy: float = 0.8,
        agreement: float = 0.85,
        config: dict[str, Any] | None = None,
        summary: dict[str, Any] | None = None,
        metrics: str = METRICS,
        folder: str | None = None,
    ) -> Path:
        path = tmp_path / "runs" / (folder or f"{experiment}/seed_{seed}")
        path.mkdir(parents=True)
        (path / "config.yaml").write_text(yaml.safe_dump(change(CONFIG, {"seed_everything": seed} | (config or {}))))
        account = change(summary_of(experiment, seed, accuracy, agreement), summary or {})
        (path / "summary.json").write_text(json.dumps(account))
        (path / "metrics.csv").write_text(metrics)
        return path

    return make


@pytest.fixture
def row(make_run: MakeRun) -> Row:
    """Two seeds that differ in what they spent and reached."""
    second = {
        "queries.spent": 900,
        "queries.by_phase": {"clone": 900},
        "final.queries": 900,
        "best_heldout": None,
    }
    second |= {
        "collapse": ["label entropy"],
        "queries_to_accuracy": {"0.5": 600, "0.881": 900},
        "victim_accuracy": 0.95,
    }
    short = "queries,iteration,accuracy,agreement\n0,0,0.1,0.1\n900,4,0.82,0.9\n"
    return Row(
        [
            read_run(make_run(seed=0, accuracy=0.80)),
            read_run(make_run(seed=1, accuracy=0.82, summary=second, metrics=short)),
        ]
    )


def rounds_table(*agreements: float, first: int = 300, more: int = 100) -> str:
    """The metrics of a run in rounds: each has two evaluations, the first of them far too good."""
    lines = ["queries,iteration,accuracy,agreement,round,round_end"]
    for number, agreement in enumerate(agreements):
        place = f"{first + more * number},{10 * number}"
        lines += [f"{place}1,0.5,0.99,{number},0", f"{place}2,0.5,{agreement},{number},1"]
    return "\n".join(lines) + "\n"
