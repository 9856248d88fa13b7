import csv
from pathlib import Path

import torch

from lightning_extract.callbacks.metrics_file import MetricsFile


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write(file: MetricsFile, *positions: int) -> None:
    for position in positions:
        file.log_metrics({"queries": float(position), "accuracy": position / 3000, "epoch": position // 256})


def test_a_row_an_evaluation_with_the_key_in_front(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "new" / "run", key="queries")
    write(file, 256)
    file.log_metrics({"queries": 512.0, "zeal": 1.0, "accuracy": 0.25})
    text = (tmp_path / "new" / "run" / "metrics.csv").read_text()
    assert text.splitlines()[0] == "queries,accuracy,epoch,zeal"
    first, second = rows(tmp_path / "new" / "run")
    assert first == {"queries": "256", "accuracy": "0.08533333", "epoch": "1.0", "zeal": ""}
    assert second == {"queries": "512", "accuracy": "0.25", "epoch": "", "zeal": "1.0"}


def test_metrics_of_one_evaluation_share_a_row(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path, key="queries")
    file.log_metrics({"queries": 256.0, "accuracy": 0.5})
    file.log_metrics({"queries": 256.0, "agreement": 0.75})
    assert rows(tmp_path) == [{"queries": "256", "accuracy": "0.5", "agreement": "0.75"}]


def test_metrics_without_the_key_are_left_out(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path, key="queries")
    file.log_metrics({"loss": 1.0}, step=3)
    assert not file.path.exists()


def test_digits_that_a_float32_does_not_carry_are_left_out(tmp_path: Path) -> None:
    value = torch.tensor(0.97).item()
    assert value != 0.97
    MetricsFile(tmp_path, key="queries").log_metrics({"queries": 1.0, "accuracy": value, "kl": 1.23456789e-5})
    assert rows(tmp_path) == [{"queries": "1", "accuracy": "0.97", "kl": "1.234568e-05"}]


def test_large_keys_are_exact(tmp_path: Path) -> None:
    MetricsFile(tmp_path, key="queries").log_metrics({"queries": 16_777_217.0})
    assert rows(tmp_path)[0]["queries"] == "16777217"


def test_a_resumed_run_continues_the_table_and_drops_later_rows(tmp_path: Path) -> None:
    whole, killed = MetricsFile(tmp_path / "whole", key="queries"), MetricsFile(tmp_path / "killed", key="queries")
    write(whole, 0, 256, 512, 768)
    write(killed, 0, 256)
    killed.log_metrics({"queries": 512.0, "accuracy": 0.9, "only_in_the_lost_part": 1.0})
    resumed = MetricsFile(tmp_path / "killed", key="queries")
    resumed.resume_at(256)
    write(resumed, 512, 768)
    assert resumed.path.read_text() == whole.path.read_text()


def test_a_row_at_the_position_is_kept(tmp_path: Path) -> None:
    write(MetricsFile(tmp_path, key="queries"), 256, 512)
    resumed = MetricsFile(tmp_path, key="queries")
    resumed.resume_at(512)
    write(resumed, 768)
    assert [row["queries"] for row in rows(tmp_path)] == ["256", "512", "768"]


def test_a_fresh_run_starts_an_empty_table(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path, key="queries")
    file.resume_at(0)
    assert not file.path.exists()
    write(MetricsFile(tmp_path, key="queries"), 256, 512)
    fresh = MetricsFile(tmp_path, key="queries")
    fresh.resume_at(0)
    write(fresh, 128)
    assert [row["queries"] for row in rows(tmp_path)] == ["128"]


def test_a_resumed_training_of_a_victim_keeps_the_epochs_before(tmp_path: Path) -> None:
    first = MetricsFile(tmp_path, key="epoch")
    for epoch in range(4):
        first.log_metrics({"epoch": epoch, "accuracy": epoch / 4})
    resumed = MetricsFile(tmp_path, key="epoch")  # nobody tells it where: its first row does
    resumed.log_metrics({"epoch": 2, "accuracy": 0.99})
    assert [(row["epoch"], row["accuracy"]) for row in rows(tmp_path)] == [("0", "0.0"), ("1", "0.25"), ("2", "0.99")]
