"""The run folder's checkpoints."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_extract.durable_file import write_durably


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the old one and renames it.

    Lightning 2.6 writes into the system's folder for temporary files and moves it from there: on another disk
    that is a copy over the old checkpoint, of which a kill or a full disk leaves neither.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes it, whole or not at all.

        Raises:
            OSError: The disk does not take it; it names the file.
        """
        content = BytesIO()
        torch.save(checkpoint, content)
        write_durably(Path(path), content.getbuffer())


class RunCheckpoint(ModelCheckpoint):
    """Keeps the latest checkpoint, after every so many epochs and at the end of a run.

    Without the one at the end, a finished run would be evaluated and continued from an earlier epoch.

    Args:
        folder: Where the checkpoints lie.
        filename: Their name, with metrics in braces.
        every: Epochs between two checkpoints.
    """

    def __init__(self, folder: Path, filename: str, every: int) -> None:
        super().__init__(
            dirpath=folder,
            filename=filename,
            auto_insert_metric_name=False,
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self.every = every

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Replaces Lightning's way of writing, unless the config names one."""
        super().setup(trainer, pl_module, stage)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = DurableCheckpointIO()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves when it is time, and when the run ends."""
        epochs = trainer.current_epoch + 1
        if trainer.should_stop or epochs == trainer.max_epochs or epochs % self.every == 0:
            super().on_train_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing: Lightning would write the checkpoint of a finished run anew when it is started again."""


def checkpoint_to_continue(folder: Path, restore: bool) -> Path | None:
    """Where a run goes on: its last checkpoint, or another one when a kill or a full disk came between the two files.

    Args:
        folder: The run's checkpoints.
        restore: Make the last one of the other; for one process.
    """
    last = folder / "last.ckpt"
    if last.is_file():
        return last
    other = readable_neighbour(last)
    if other is None or not restore:
        return other
    write_durably(last, other.read_bytes())
    return last


def readable_neighbour(path: Path) -> Path | None:
    """The newest other checkpoint of the same folder that can be read; None where there is none."""
    others = [other for other in path.parent.glob("*.ckpt") if other != path and other.is_file()]
    for other in sorted(others, key=lambda other: other.stat().st_mtime, reverse=True):
        try:
            torch.load(other, map_location="cpu", weights_only=True, mmap=True)
        except Exception:  # a damaged file leads the reader into every kind of error
            continue
        return other
    return None
