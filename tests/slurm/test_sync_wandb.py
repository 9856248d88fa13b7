"""The upload of offline W&B runs, with a stand-in for the program that talks to the network."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.command_line import CONFIGS

# Uploads all but runs with the id "bad", and marks them as the real one does.
STAND_IN = """#!/usr/bin/env bash
echo "$@" >>"$CALLS"
if [[ $1 == login ]]; then exit "$LOGIN"; fi
if [[ $2 == *-bad ]]; then exit 1; fi
touch "$2/run-${2##*-}.wandb.synced"
"""


@pytest.fixture
def wandb(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "wandb").write_text(STAND_IN)
    (tmp_path / "bin" / "wandb").chmod(0o755)
    return tmp_path / "bin"


def sync(*folders: Path, program: Path | None, login: int = 0) -> subprocess.CompletedProcess[str]:
    calls = folders[0] / "calls" if folders else Path("calls")
    path = os.pathsep.join(["/usr/bin", "/bin"] if program is None else [str(program), "/usr/bin", "/bin"])
    environment = os.environ | {"PATH": path, "CALLS": str(calls), "LOGIN": str(login)}
    command = ["bash", str(CONFIGS.parent / "slurm" / "sync_wandb.sh"), *map(str, folders)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def calls(folder: Path) -> list[str]:
    return [line for line in (folder / "calls").read_text().splitlines() if line.startswith("sync")]


def offline_run(folder: Path, start: str, name: str) -> Path:
    path = folder / "wandb" / f"offline-run-{start}-{name}"
    path.mkdir(parents=True)
    (path / f"run-{name}.wandb").touch()
    return path


def test_uploads_in_order_of_start_and_once(wandb: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    second = offline_run(runs / "a" / "seed_0", "20261125_120000", "x")
    third = offline_run(runs / "a" / "seed 1", "20261125_130000", "y")
    # What else lies there: a link to the last part, and a part that was to be sent at once but could not start.
    (runs / "a" / "seed_0" / "wandb" / "latest-run").symlink_to(second.name)
    (runs / "a" / "seed_0" / "wandb" / "run-20261125_115900-x").mkdir()
    first = offline_run(runs / "b" / "seed_0", "20261124_230000", "x")
    done = sync(runs, runs / "a", program=wandb)  # a folder twice uploads nothing twice
    assert done.returncode == 0, done.stderr
    assert calls(runs) == [f"sync {path}" for path in (first, second, third)]
    assert done.stdout.splitlines()[-1] == "3 offline runs: 3 uploaded, 0 uploaded before, 0 failed"
    again = sync(runs, program=wandb)
    assert again.stdout.splitlines() == ["3 offline runs: 0 uploaded, 3 uploaded before, 0 failed"]
    assert len(calls(runs)) == 3


def test_goes_on_after_a_failure_and_reports_it(wandb: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    bad = offline_run(runs, "20261125_120000", "bad")
    good = offline_run(runs, "20261125_130000", "good")
    done = sync(runs, program=wandb)
    assert done.returncode == 1
    assert f"{bad} is not uploaded" in done.stderr
    assert done.stdout.splitlines()[-1] == "2 offline runs: 1 uploaded, 0 uploaded before, 1 failed"
    assert (good / "run-good.wandb.synced").exists()
    assert not list(bad.glob("*.synced"))


def test_complains_clearly(wandb: Path, tmp_path: Path) -> None:
    offline_run(tmp_path, "20261125_120000", "x")
    for done, complaint in (
        (sync(program=wandb), "no folder; give the folders that hold offline runs"),
        (sync(tmp_path / "nowhere", program=wandb), "is no folder"),
        (sync(tmp_path, program=None), "wandb is not installed; pip install -e '.[dashboards]'"),
        (sync(tmp_path, program=wandb, login=1), "not logged in to W&B, or no network; run wandb login"),
    ):
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert complaint in done.stderr
    assert calls(tmp_path) == []
