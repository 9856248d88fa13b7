import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_extract.callbacks.predictions import PredictionFile
from lightning_extract.data.image_batches import RankShare
from tests.stand_ins import noise_attack, stand_in_trainer


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def probabilities(count: int) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0)).softmax(dim=1)


def test_a_row_an_image() -> None:
    answers = probabilities(7)
    PredictionFile().write_on_epoch_end(stand_in_trainer(default_root_dir="run"), noise_attack(), answers.split(3), [])
    rows = read(Path("run/predictions.csv"))
    assert list(rows[0]) == ["index", "label", "p_0", "p_1", "p_2"]
    assert [int(row["index"]) for row in rows] == list(range(7))
    assert [int(row["label"]) for row in rows] == answers.argmax(dim=1).tolist()
    written = torch.tensor([[float(row[f"p_{k}"]) for k in range(3)] for row in rows])
    torch.testing.assert_close(written, answers, rtol=1e-5, atol=0)


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_name_the_images_that_they_really_saw(world_size: int) -> None:
    answers, labels = probabilities(20), {}
    for rank in range(world_size):
        trainer = stand_in_trainer(default_root_dir="run", world_size=world_size, global_rank=rank)
        share = [answers[positions] for positions in RankShare(20, 8, rank, world_size)]
        PredictionFile().write_on_epoch_end(trainer, noise_attack(), share, [])
        for row in read(Path(f"run/predictions_{rank}.csv")):
            labels[int(row["index"])] = int(row["label"])
    assert [labels[index] for index in range(20)] == answers.argmax(dim=1).tolist()
    assert not Path("run/predictions.csv").exists()
