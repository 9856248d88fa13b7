"""What an extraction is measured by."""

from .clone_quality import CloneQuality
from .label_histogram import LabelHistogram
from .queries_to_accuracy import QueriesToAccuracy
from .transferability import Transferability

__all__ = ["CloneQuality", "LabelHistogram", "QueriesToAccuracy", "Transferability"]
