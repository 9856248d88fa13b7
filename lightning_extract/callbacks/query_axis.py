"""Queries as the x-axis of a live dashboard."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger


class QueryAxis(Callback):
    """Tells Weights & Biases, where it is configured, to draw every metric against ``queries``."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Replaces Lightning's own axis, the count of finished iterations."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                logger.experiment.define_metric("*", step_metric="queries", step_sync=True)
