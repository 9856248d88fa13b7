"""Keeps every answer that a run has bought."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_extract.attacks.base import ExtractionAttack
from lightning_extract.oracle.answer_store import AnswerStore


class AnswerKeeping(Callback):
    """Gives the oracle a store in ``<run_dir>/answers/``, so that nothing is asked again after a kill.

    A run that goes on from its last checkpoint asks the same queries again; those that were answered before the kill
    are then answered from the store.
    """

    def __init__(self) -> None:
        self._store: AnswerStore | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the store, when the checkpoint is loaded and nothing bought.

        Raises:
            InputError: It is damaged, or of another victim or access.
        """
        assert isinstance(pl_module, ExtractionAttack)
        oracle, folder = pl_module.oracle, Path(trainer.default_root_dir) / "answers"
        weights = pl_module.victim_card.weights_sha256
        self._store = AnswerStore(
            folder, trainer.global_rank, oracle.num_classes, oracle.access, weights, asked_before=oracle.answered
        )
        trainer.strategy.barrier()  # nobody writes while others still read
        oracle.keep_answers(self._store)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Closes it."""
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Closes it."""
        if self._store is not None:
            self._store.close()
