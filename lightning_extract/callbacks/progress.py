"""A progress bar that counts queries."""

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from lightning_extract.attacks.base import ExtractionAttack

# A terminal is redrawn ten times a second; a log file gets one line in half a minute.
SECONDS_BETWEEN_UPDATES_IN_LOGS = 30.0


class QueryProgressBar(ProgressBar):
    """Queries spent of the budget, throughput, time left, and the current agreement with the victim.

    Args:
        title: What stands in front of the bar.
    """

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self.bar: tqdm[Any] | None = None
        self._enabled = True
        self._buying = True

    def disable(self) -> None:
        """Called by Lightning on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Turns the bar on again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the bar where the account stands."""
        assert isinstance(pl_module, ExtractionAttack)
        self._buying = True
        self.bar = self._open(pl_module.ledger.budget, pl_module.ledger.spent, " queries")

    def _open(self, total: int, initial: int, unit: str) -> "tqdm[Any]":
        interval = 0.1 if sys.stderr.isatty() else SECONDS_BETWEEN_UPDATES_IN_LOGS
        return tqdm(
            total=total,
            initial=initial,
            desc=self.title,
            unit=unit,
            dynamic_ncols=True,
            disable=not self._enabled,
            mininterval=interval,
            maxinterval=max(10.0, interval),  # tqdm's own 10 s would redraw log files more often
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar to what is spent; an attack that trains on afterwards gets a second bar, of iterations."""
        assert isinstance(pl_module, ExtractionAttack)
        assert self.bar is not None
        if self._buying and not pl_module.can_pay_iteration and not pl_module.finished:
            self._buying = False
            self.bar.update(pl_module.ledger.spent - self.bar.n)
            self.bar.close()
            total = round(pl_module.iterations_done / pl_module.progress)
            self.bar = self._open(total, pl_module.iterations_done, " iterations")
        done = pl_module.ledger.spent if self._buying else pl_module.iterations_done
        self.bar.update(done - self.bar.n)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the latest agreement and accuracy."""
        if self.bar is not None and "agreement" in trainer.callback_metrics:
            shown = {name: f"{float(trainer.callback_metrics[name]):.3f}" for name in ("agreement", "accuracy")}
            self.bar.set_postfix(shown, refresh=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the bar on the screen."""
        if self.bar is not None:
            self.bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Frees the line for the message."""
        if self.bar is not None:
            self.bar.close()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Prints above the bar."""
        tqdm.write(kwargs.get("sep", " ").join(map(str, args)))
