"""The extracted model's answers as a file."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor


class PredictionFile(BasePredictionWriter):
    """Writes ``predictions.csv``: index, predicted class and the probability of each class, a row an image."""

    def __init__(self) -> None:
        super().__init__(write_interval="epoch")

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Any, batch_indices: Any
    ) -> None:
        """Writes this process's images; with several processes each writes ``predictions_<rank>.csv``."""
        batches: list[Tensor] = predictions
        name = "predictions.csv" if trainer.world_size == 1 else f"predictions_{trainer.global_rank}.csv"
        path = Path(trainer.default_root_dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["index", "label", *(f"p_{k}" for k in range(batches[0].shape[1]))])
            position = trainer.global_rank
            for batch in batches:
                for row in batch.tolist():
                    writer.writerow([position, max(range(len(row)), key=row.__getitem__), *(f"{p:.6g}" for p in row)])
                    position += trainer.world_size
        print(f"predictions: {path}")
