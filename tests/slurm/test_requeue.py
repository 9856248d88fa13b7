"""The batch scripts in a real Slurm: a task that is told to make room goes on later as if nothing had happened."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.command_line import CONFIGS
from tests.miniature import CONF

ROOT = CONFIGS.parent
SECONDS = 110.0


def no_slurm() -> str:
    """Why there is no Slurm to test with; empty where there is one."""
    if shutil.which("sbatch") is None:
        return "there is no sbatch on the PATH"
    try:
        answer = subprocess.run(
            ["sinfo", "-h", "-t", "idle,mixed", "-o", "%n"], capture_output=True, text=True, timeout=20
        )
    except subprocess.TimeoutExpired:
        return "the controller of Slurm does not answer"
    return "" if answer.returncode == 0 and answer.stdout.strip() else "Slurm has no free node, or does not answer"


@pytest.fixture(scope="module")
def slurm() -> None:
    if reason := no_slurm():
        pytest.skip(reason)


@pytest.fixture
def submit(slurm: None, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Submits a batch script from the repository's folder; what is left at the end is cancelled."""
    jobs: list[str] = []

    def run(script: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = [
            "sbatch",
            "--parsable",
            "--time=5",
            f"--output={tmp_path}/%a.log",
            *options,
            f"slurm/{script}",
            *arguments,
        ]
        jobs.append(
            subprocess.run(
                command, cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True
            ).stdout.strip()
        )
        return jobs[-1]

    yield run
    for job in jobs:
        subprocess.run(["scancel", "--quiet", job], check=False)


def wait_until(reached: Callable[[], bool], what: str, logs: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not reached():
        written = "\n".join(path.read_text()[-2000:] for path in logs.glob("*.log"))
        assert time.monotonic() < deadline, f"{what} did not happen\n{written}"
        time.sleep(0.2)


def field(job: str, name: str) -> str:
    """One field of what Slurm tells of a job."""
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
    return next(word for word in shown.split() if word.startswith(f"{name}=")).removeprefix(f"{name}=")


def ended(job: str) -> bool:
    return not subprocess.run(["squeue", "-h", "-j", job], capture_output=True, text=True, check=False).stdout.strip()


@pytest.mark.slow
def test_an_interrupted_task_ends_with_the_numbers_of_an_uninterrupted_one(
    submit: Callable[..., str], tmp_path: Path
) -> None:
    folders = [tmp_path / "whole", tmp_path / "interrupted"]
    sweep = tmp_path / "sweep.txt"
    sweep.write_text("".join(f"--config {CONF / 'disguide.yaml'} --run_dir {folder}\n" for folder in folders))
    array = submit("array.sbatch", str(sweep), "--model.threat_model.query_budget", "12_800", options=("--array=1-2",))
    # The second task, the array's last, which has the array's own number.
    wait_until((folders[1] / "checkpoints" / "last.ckpt").is_file, "a checkpoint", tmp_path)
    subprocess.run(["scancel", "--signal=USR1", "--batch", f"{array}_2"], check=True)
    wait_until(lambda: field(f"{array}_2", "JobState") == "PENDING", "the requeue", tmp_path)
    before = (folders[1] / "metrics.csv").read_text()
    assert len(before.splitlines()) < 12_800 // 256
    assert not list(folders[1].glob("hpc_ckpt_*")), "Lightning has seen the signal"
    # Slurm would wait two minutes, in which a node might recover.
    subprocess.run(["scontrol", "update", f"jobid={array}_2", "starttime=now"], check=True)
    wait_until(lambda: ended(array), "the end", tmp_path)
    assert (folders[1] / "metrics.csv").read_bytes() == (folders[0] / "metrics.csv").read_bytes()
    assert (folders[0] / "metrics.csv").read_text().splitlines()[-1].startswith("12800,")
    logs = {number: (tmp_path / f"{number}.log").read_text() for number in (1, 2)}
    assert "REQUEUE" not in logs[1]  # the other task was left alone
    assert logs[2].count(f"job {array}_2 goes back into the queue") == 1
    assert "stopped; the same command continues from the last checkpoint" in logs[2]


@pytest.mark.slow
def test_a_refused_command_is_not_repeated(submit: Callable[..., str], tmp_path: Path) -> None:
    job = submit("fit.sbatch", "--config", "configs/nothing.yaml")
    wait_until(lambda: field(job, "JobState") == "FAILED", "the failure", tmp_path)
    assert field(job, "ExitCode") == "2:0"
    assert field(job, "Restarts") == "0"
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "config file configs/nothing.yaml does not exist" in logs


@pytest.mark.slow
def test_two_processes_are_one_run(submit: Callable[..., str], tmp_path: Path) -> None:
    cores = subprocess.run(["sinfo", "-h", "-o", "%c"], capture_output=True, text=True, check=True).stdout.split()
    if max(int(count.rstrip("+")) for count in cores) < 2:
        pytest.skip("two processes need a node with two cores")
    folder = tmp_path / "run"
    job = submit(
        "fit.sbatch",
        "--config",
        str(CONF / "disguide.yaml"),
        "--run_dir",
        str(folder),
        options=("--ntasks-per-node=2",),
    )
    wait_until(lambda: ended(job), "the end", tmp_path)
    assert '"processes": 2' in (folder / "summary.json").read_text()
    assert '"status": "finished"' in (folder / "summary.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "give lines and file of a sweep"),
        (("slurm/sweeps/dfme_seeds.txt",), "has no line 99; give --array=1-10"),
    ],
)
def test_a_task_without_a_line_says_so(arguments: tuple[str, ...], complaint: str) -> None:
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "99"}
    command = ["bash", "slurm/array.sbatch", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr
