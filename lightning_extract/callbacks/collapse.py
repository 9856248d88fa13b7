"""Notices attacks that learn nothing."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_extract.attacks.base import ExtractionAttack
from lightning_extract.errors import InputError


class CollapseWatchdog(Callback):
    """Warns when a clone stays at chance level, or the victim puts all queries into one class.

    The papers have no such rule; the thresholds are ours.

    Args:
        patience: Share of the attack, that is of its query budget or of its passes over a pool, for which a symptom
            must last before it is reported.
        margin: A clone is at chance while its agreement with the victim is below ``c + margin * (1 - c)``,
            where ``c`` is one over the number of classes.
        top_share: The queries have collapsed while at least this share of them gets one label.
        stop: Whether to end the run at the first report.
    """

    def __init__(
        self, patience: float = 0.2, margin: float = 0.05, top_share: float = 0.95, stop: bool = False
    ) -> None:
        for name, value in (("patience", patience), ("margin", margin), ("top_share", top_share)):
            if not 0 < value <= 1:
                raise InputError(f"collapse.{name} is {value}; give a share above 0 and up to 1")
        self.patience, self.margin, self.top_share, self.stop = patience, margin, top_share, stop
        self.reports: dict[str, str] = {}
        self._healthy_until: dict[str, tuple[int, int]] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps a run that it has stopped from going on when the same command is given again."""
        if self.stop and self.reports:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the evaluation that has just been logged."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or not isinstance(pl_module, ExtractionAttack):
            return
        for symptom, present in self._symptoms(trainer, pl_module).items():
            self._follow(trainer, pl_module, symptom, present)

    def _symptoms(self, trainer: Trainer, attack: ExtractionAttack) -> dict[str, bool]:
        metrics = trainer.callback_metrics
        chance = 1 / attack.num_classes
        threshold = chance + self.margin * (1 - chance)
        symptoms = {
            f"clone {i} agrees with the victim at chance level": float(metrics[f"agreement_clone_{i}"]) < threshold
            for i in range(len(attack.clones) if attack.learning_since is not None else 0)
        }
        if "label_top_share" in metrics:
            one_class = float(metrics["label_top_share"]) >= self.top_share
            symptoms["the victim puts the queries into one class"] = one_class
        return symptoms

    def _follow(self, trainer: Trainer, attack: ExtractionAttack, symptom: str, present: bool) -> None:
        spent, budget = attack.ledger.spent, attack.ledger.budget
        done = round(attack.progress * budget)  # what is spent, unless the attack trains on after its last purchase
        begin = attack.learning_since or 0
        since, queries = (max(begin, count) for count in self._healthy_until.setdefault(symptom, (0, 0)))
        if not present:
            self._healthy_until[symptom] = done, spent
            if not self.stop:
                self.reports.pop(symptom, None)  # it has recovered: the summary tells how a run ended
        elif symptom not in self.reports and done - since >= self.patience * budget:
            self.reports[symptom] = f"{symptom} since {queries:,} of {budget:,} queries"
            rank_zero_warn(f"COLLAPSE: {self.reports[symptom]} (seen at {spent:,})")
            trainer.should_stop = trainer.should_stop or self.stop

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, for a checkpoint."""
        return {"reports": dict(self.reports), "healthy_until": dict(self._healthy_until)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores it."""
        self.reports = dict(state_dict["reports"])
        self._healthy_until = dict(state_dict["healthy_until"])
