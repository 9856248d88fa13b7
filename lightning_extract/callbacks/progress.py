"""A progress bar that counts queries."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from lightning_extract.attacks.base import ExtractionAttack
from lightning_extract.attacks.work import Work
from lightning_extract.bars import open_bar


class QueryProgressBar(ProgressBar):
    """Queries spent of the budget, throughput, time left, and the current agreement with the victim.

    A stage of an attack has a bar of its own; one that buys nothing counts iterations and names the queries behind it.

    Args:
        experiment: What stands in front of the bar.
    """

    def __init__(self, experiment: str) -> None:
        super().__init__()
        self.experiment = experiment
        self.bar: tqdm[Any] | None = None
        self._enabled = True
        self._work = Work("", 0, 0, "")
        self._spent = 0
        self._quality: dict[str, str] = {}

    def disable(self) -> None:
        """Called by Lightning on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Turns the bar on again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the bar where the account stands."""
        assert isinstance(pl_module, ExtractionAttack)
        self._work, self._spent, self._quality = pl_module.work, pl_module.ledger.spent, {}
        self.bar = self._open()

    def _open(self) -> "tqdm[Any]":
        title = f"{self.experiment} {self._work.title}".rstrip()
        work = self._work
        return open_bar(work.total, title, work.unit, self._enabled, initial=work.done, postfix=self._postfix())

    def _postfix(self) -> str:
        spent = {} if self._work.unit == " queries" else {"queries": f"{self._spent:,}"}
        # As text: tqdm sorts the names that a new bar is given.
        return ", ".join([*filter(None, [self._work.note]), *(f"{k}={v}" for k, v in (spent | self._quality).items())])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar to what is done; what begins anew gets a bar of its own."""
        assert isinstance(pl_module, ExtractionAttack)
        assert self.bar is not None
        before, bought = self._work, pl_module.ledger.spent - self._spent
        self._work, self._spent = pl_module.work, pl_module.ledger.spent
        if self._work.continues(before):
            self.bar.set_postfix_str(self._postfix(), refresh=False)
            self.bar.update(self._work.done - self.bar.n)
        else:
            left = before.total - before.done
            # A remainder of the budget that pays no iteration was not spent.
            self.bar.update(min(bought, left) if before.unit == " queries" else left)
            self.bar.close()
            self.bar = self._open()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the latest agreement and accuracy."""
        if self.bar is not None and "agreement" in trainer.callback_metrics:
            names = ("agreement", "accuracy")
            self._quality = {name: f"{float(trainer.callback_metrics[name]):.3f}" for name in names}
            self.bar.set_postfix_str(self._postfix(), refresh=False)

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
