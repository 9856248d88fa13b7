"""Which unbought samples of a pool are worth a query: one strategy a file, all pure functions of tensors."""

from .adversarial import select_adversarial
from .candidates import Candidates, KnownCandidates, Strategy
from .chain import STRATEGIES, StrategyName, select
from .deepfool import DeepFool, deepfool_distances
from .kcenter import select_kcenter
from .random import select_random
from .uncertainty import select_uncertain

__all__ = [
    "STRATEGIES",
    "Candidates",
    "DeepFool",
    "KnownCandidates",
    "Strategy",
    "StrategyName",
    "deepfool_distances",
    "select",
    "select_adversarial",
    "select_kcenter",
    "select_random",
    "select_uncertain",
]
