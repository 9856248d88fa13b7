"""Evaluation on several processes gives the numbers of one, also where the test set does not divide."""

import csv
from pathlib import Path

import pytest

from lightning_extract.attacks import DFME
from lightning_extract.cli import main
from lightning_extract.commands import run_cli
from lightning_extract.complaints import quieten
from tests.miniature import config_of, fit
from tests.processes.world import World

TEST_IMAGES = 1_000


def evaluate(rank: int, arguments: list[str], metrics: str) -> None:
    quieten()
    found = run_cli(arguments).trainer.callback_metrics
    rows = [f"{name},{float(value)!r}\n" for name, value in sorted(found.items())]
    Path(f"{metrics}{rank}.csv").write_text("".join(rows))


def metrics_of(rank: int, metrics: str) -> dict[str, float]:
    with Path(f"{metrics}{rank}.csv").open(newline="") as file:
        return {name: float(value) for name, value in csv.reader(file)}


def arguments(run_dir: Path, command: str, processes: int, batch: int) -> list[str]:
    fixed = ["--run_dir", str(run_dir), "--trainer.enable_progress_bar", "false"]
    shared = ["--trainer.devices", str(processes), "--data.eval_batch_size", str(batch)]
    return [command, "--config", str(config_of(DFME)), *fixed, *shared]


def predictions(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    fit(config_of(DFME), str(folder), "--trainer.enable_progress_bar", "false")
    return folder


# A thousand images: the shares of three processes differ; a batch may be larger than the set.
@pytest.mark.parametrize(("command", "processes", "batch"), [("test", 3, 300), ("validate", 4, 5_000)])
def test_numbers_of_one_process(run_dir: Path, command: str, processes: int, batch: int) -> None:
    evaluate(0, arguments(run_dir, command, 1, 500), "one_")
    expected = metrics_of(0, "one_")
    assert {"accuracy", "agreement", "kl"} <= expected.keys()
    for ended in World(processes, evaluate, arguments(run_dir, command, processes, batch), "several_").wait():
        assert ended.code == 0, ended.stderr[-2000:]
    for rank in range(processes):
        found = metrics_of(rank, "several_")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == (pytest.approx(value, rel=1e-5) if name.startswith("kl") else value), name


def test_predictions_of_all_processes_are_those_of_one(run_dir: Path) -> None:
    main(arguments(run_dir, "predict", 1, 500))
    expected = predictions(run_dir / "predictions.csv")
    for ended in World(3, evaluate, arguments(run_dir, "predict", 3, 5_000), "several_").wait():
        assert ended.code == 0, ended.stderr[-2000:]
    found = [row for rank in range(3) for row in predictions(run_dir / f"predictions_{rank}.csv")]
    found.sort(key=lambda row: int(row[0]))
    assert len(found) == TEST_IMAGES
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for row, of_one in zip(found, expected, strict=True):
        assert [float(cell) for cell in row[2:]] == pytest.approx([float(cell) for cell in of_one[2:]], abs=1e-5)
