import csv
from pathlib import Path

import torch

from lightning_extract.callbacks.metrics_file import MetricsFile

PRICE, BUDGET = 256, 1024  # queries an iteration, of an attack that goes on when all are spent


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def iterations(folder: Path) -> list[str]:
    return [row["iteration"] for row in rows(folder)]


def write(file: MetricsFile, *positions: int) -> None:
    for position in positions:
        queries = float(min(PRICE * position, BUDGET))
        row = {"queries": queries, "iteration": float(position), "accuracy": position / 9, "epoch": position // 2}
        file.log_metrics(row)


def test_a_row_an_evaluation_with_its_place_in_front(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "new" / "run", key="iteration")
    write(file, 1)
    file.log_metrics({"zeal": 1.0, "iteration": 2.0, "accuracy": 0.25, "classes_found": 7.0, "queries": 512.0})
    text = (tmp_path / "new" / "run" / "metrics.csv").read_text()
    assert text.splitlines()[0] == "queries,iteration,accuracy,classes_found,epoch,zeal"
    first, second = rows(tmp_path / "new" / "run")
    assert [*first.values()] == ["256", "1", "0.1111111", "", "0.0", ""]
    assert [*second.values()] == ["512", "2", "0.25", "7", "", "1.0"]


def test_rows_after_the_last_purchase_share_their_queries(tmp_path: Path) -> None:
    write(MetricsFile(tmp_path, key="iteration"), 3, 4, 5, 6)
    assert [(row["queries"], row["iteration"]) for row in rows(tmp_path)] == [
        ("768", "3"),
        ("1024", "4"),
        ("1024", "5"),
        ("1024", "6"),
    ]


def test_metrics_of_one_evaluation_share_a_row(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path, key="iteration")
    file.log_metrics({"iteration": 1.0, "queries": 256.0, "accuracy": 0.5})
    file.log_metrics({"iteration": 1.0, "queries": 256.0, "agreement": 0.75})
    assert rows(tmp_path) == [{"queries": "256", "iteration": "1", "accuracy": "0.5", "agreement": "0.75"}]


def test_metrics_without_the_key_are_left_out(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path, key="iteration")
    file.log_metrics({"loss": 1.0}, step=3)
    assert not file.path.exists()


def test_digits_that_a_float32_does_not_carry_are_left_out(tmp_path: Path) -> None:
    value = torch.tensor(0.97).item()
    assert value != 0.97
    MetricsFile(tmp_path, key="iteration").log_metrics({"iteration": 1.0, "accuracy": value, "kl": 1.23456789e-5})
    assert rows(tmp_path) == [{"iteration": "1", "accuracy": "0.97", "kl": "1.234568e-05"}]


def test_large_counts_are_exact(tmp_path: Path) -> None:
    MetricsFile(tmp_path, key="iteration").log_metrics({"queries": 16_777_217.0, "iteration": 16_777_219.0})
    assert rows(tmp_path) == [{"queries": "16777217", "iteration": "16777219"}]


def test_a_resumed_run_continues_the_table_and_drops_later_rows(tmp_path: Path) -> None:
    whole = MetricsFile(tmp_path / "whole", key="iteration")
    killed = MetricsFile(tmp_path / "killed", key="iteration")
    write(whole, 0, 2, 4, 5, 6)
    write(killed, 0, 2, 4)
    killed.log_metrics({"queries": 1024.0, "iteration": 5.0, "accuracy": 0.9, "only_in_the_lost_part": 1.0})
    resumed = MetricsFile(tmp_path / "killed", key="iteration")
    resumed.resume_at(4)  # the lost row has as many queries as the last that is kept
    write(resumed, 5, 6)
    assert resumed.path.read_text() == whole.path.read_text()


def test_rows_without_a_number_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("queries,accuracy\n256,0.1\n512,0.2\n")
    resumed = MetricsFile(tmp_path, key="iteration")
    resumed.resume_at(2)
    write(resumed, 3)
    assert iterations(tmp_path) == ["3"]


def test_a_fresh_run_starts_an_empty_table(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path, key="iteration")
    file.resume_at(0)
    assert not file.path.exists()
    write(MetricsFile(tmp_path, key="iteration"), 1, 2)
    fresh = MetricsFile(tmp_path, key="iteration")
    fresh.resume_at(0)  # the run before was killed ahead of its first checkpoint, and was evaluated more often
    write(fresh, 3)
    assert iterations(tmp_path) == ["3"]


def test_a_resumed_training_of_a_victim_keeps_the_epochs_before(tmp_path: Path) -> None:
    first = MetricsFile(tmp_path, key="epoch")
    for epoch in range(4):
        first.log_metrics({"epoch": epoch, "accuracy": epoch / 4})
    assert first.path.read_text().startswith("epoch,accuracy\n")
    resumed = MetricsFile(tmp_path, key="epoch")  # nobody tells it where: its first row does
    resumed.log_metrics({"epoch": 2, "accuracy": 0.99})
    assert [(row["epoch"], row["accuracy"]) for row in rows(tmp_path)] == [("0", "0.0"), ("1", "0.25"), ("2", "0.99")]
