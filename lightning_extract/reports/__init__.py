"""Tables and curves from run folders, which hold all that a report needs: no victim, no logger."""

from .report import main, report
from .run_plot import plot_run

__all__ = ["main", "plot_run", "report"]
