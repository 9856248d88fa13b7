"""The attacks; what is imported here can be named in a config."""

from .base import ExtractionAttack
from .data_free import DataFreeAttack
from .disguide import DisGUIDE
from .noise import UniformNoise

__all__ = ["DataFreeAttack", "DisGUIDE", "ExtractionAttack", "UniformNoise"]
