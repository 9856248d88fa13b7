"""Ends an attack before the first iteration that its budget cannot pay."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_extract.attacks.base import ExtractionAttack


class QueryBudget(Callback):
    """Stops training and closes the account when no iteration is left that the budget pays.

    The check at the start lets a finished run that is started again end without a query.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops at once when nothing can be bought."""
        self._stop_if_spent(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stops after the last iteration that could be paid."""
        self._stop_if_spent(trainer, pl_module)

    def _stop_if_spent(self, trainer: Trainer, attack: LightningModule) -> None:
        if isinstance(attack, ExtractionAttack) and attack.finished:
            attack.stop_buying()
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1  # the end is evaluated, whatever the interval
