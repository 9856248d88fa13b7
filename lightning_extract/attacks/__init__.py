"""The attacks; what is imported here can be named in a config."""

from .activethief import ActiveThief
from .base import ExtractionAttack
from .data_free import DataFreeAttack
from .dfme import DFME
from .dfms import DFMS
from .disguide import DisGUIDE
from .dual_students import DualStudents
from .maze import MAZE
from .surrogate import SurrogateDistillation

__all__ = [
    "DFME",
    "DFMS",
    "MAZE",
    "ActiveThief",
    "DataFreeAttack",
    "DisGUIDE",
    "DualStudents",
    "ExtractionAttack",
    "SurrogateDistillation",
]
