"""The attacks; what is imported here can be named in a config."""

from .base import ExtractionAttack
from .data_free import DataFreeAttack
from .dfme import DFME
from .disguide import DisGUIDE
from .dual_students import DualStudents
from .maze import MAZE
from .surrogate import SurrogateDistillation

__all__ = [
    "DFME",
    "MAZE",
    "DataFreeAttack",
    "DisGUIDE",
    "DualStudents",
    "ExtractionAttack",
    "SurrogateDistillation",
]
