"""What a strategy chooses from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lightning_extract.errors import InputError


class Candidates(Protocol):
    """Unbought samples of a round, as the clone of that round sees them."""

    @property
    def size(self) -> int:
        """Number of samples, n."""

    @property
    def probabilities(self) -> Tensor:
        """The clone's softmax outputs for them, ``(n, K)``, on the device that trains."""

    @property
    def centres(self) -> Tensor:
        """Its outputs for all training points that are already bought, ``(m, K)``."""

    @property
    def draws(self) -> torch.Generator:
        """Random generator on the CPU, seeded by the round."""

    @property
    def measured(self) -> int | None:
        """Most candidates whose distance is asked for, drawn at random; all when None."""

    def distances(self, indices: Tensor) -> Tensor:
        """Squared distances of candidates ``(i,)`` to the clone's decision boundary, ``(i,)``."""


@dataclass(frozen=True, eq=False)
class KnownCandidates:
    """Candidates of which everything is known beforehand; see :class:`Candidates`."""

    probabilities: Tensor
    centres: Tensor
    draws: torch.Generator
    distances: Callable[[Tensor], Tensor]
    measured: int | None = None

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.probabilities)


# Candidates, indices (a,) into them in ascending order, and a count to chosen indices (count,): distinct, in the order
# of choice, int64 on the CPU. Of equals, the one that stands first is chosen.
Strategy = Callable[[Candidates, Tensor, int], Tensor]


def check_count(among: Tensor, count: int) -> None:
    """Looks whether so many samples can be chosen.

    Raises:
        InputError: They cannot.
    """
    if not 1 <= count <= len(among):
        raise InputError(
            f"{count:,} samples shall be chosen among {len(among):,} unbought ones; give a number from 1 to "
            f"{len(among):,}: a larger pool, a smaller query budget or fewer rounds"
        )
