"""What an attack on a pool needs of it."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class ThiefPool(Protocol):
    """Unlabelled public samples that can be asked for one by one."""

    @property
    def size(self) -> int:
        """Number of samples."""

    def queries(self, positions: Tensor) -> Tensor | Sequence[str]:
        """Samples as the victim gets them, by their positions ``(n,)``.

        Shape:
            Images float32 ``(n, C, H, W)`` in [-1, 1] on the CPU, or ``n`` sentences.
        """
