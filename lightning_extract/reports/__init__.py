"""Tables and curves from run folders, which hold all that a report needs: no victim, no logger."""

from .curves import plot_run
from .report import main, report

__all__ = ["main", "plot_run", "report"]
