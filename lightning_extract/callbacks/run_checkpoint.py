"""The run folder's checkpoints."""

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


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

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves when it is time, and when the run ends."""
        epochs = trainer.current_epoch + 1
        if trainer.should_stop or epochs == trainer.max_epochs or epochs % self.every == 0:
            super().on_train_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing: Lightning would write the checkpoint of a finished run anew when it is started again."""
