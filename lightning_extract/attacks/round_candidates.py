"""The unbought samples of a round, as strategies see them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn

from lightning_extract.attacks.base import ExtractionAttack
from lightning_extract.attacks.clone_reader import Reader
from lightning_extract.bars import open_bar
from lightning_extract.data.draws import IterationDraws
from lightning_extract.functional.distributed import gather_shares
from lightning_extract.functional.logits import PROBABILITY_FLOOR
from lightning_extract.selection import DeepFool, deepfool_distances

PREDICTION_BATCH = 1024  # bounds the memory, changes no result
SECONDS_WITHOUT_BAR = 2.0


class RoundCandidates:
    """What the clone of the last round says of samples; computed when a strategy asks for it, each process a share.

    Args:
        attack: Whose clone looks at them.
        reader: What it reads of the pool.
        draws: The iteration's draws.
        deepfool: How distances are measured.
        positions: Where the samples stand in the pool, ascending.
        bought: Where those stand that the clone was trained on.
    """

    def __init__(
        self,
        attack: ExtractionAttack,
        reader: Reader,
        draws: IterationDraws,
        deepfool: DeepFool,
        positions: Tensor,
        bought: Tensor,
    ) -> None:
        self._attack, self._reader, self._process = attack, reader, draws
        self._deepfool, self.measured = deepfool, deepfool.candidates
        self.positions, self._bought = positions, bought
        self.draws = torch.Generator().manual_seed(draws.python.getrandbits(63))

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.positions)

    @cached_property
    def probabilities(self) -> Tensor:
        """The clone's probabilities ``(n, K)``."""
        return pool_probabilities(self._attack, self._reader, self._process, self.positions)

    @cached_property
    def centres(self) -> Tensor:
        """Its probabilities for everything that it was trained on, ``(m, K)``."""
        return pool_probabilities(self._attack, self._reader, self._process, self._bought)

    def distances(self, indices: Tensor) -> Tensor:
        """Squared distances to the clone's decision boundary ``(i,)``, of pixels in [0, 1]."""
        attack = self._attack
        share = self.positions[self._process.share(indices)]

        def pixels(chosen: Tensor) -> Tensor:
            images = self._reader.of_pool(share[chosen]).to(attack.device, non_blocking=True)
            return (images.to(attack.dtype) + 1) / 2

        attack.clones.eval()
        hidden = attack.trainer.progress_bar_callback is None or not attack.trainer.is_global_zero
        bar = open_bar(len(share), "DeepFool", " images", show=not hidden, leave=False, delay=SECONDS_WITHOUT_BAR)
        with bar, _frozen(attack.clones):
            found = deepfool_distances(self._logits, pixels, len(share), self._deepfool, bar.update)
        return gather_shares(found.to(attack.device), len(indices)).cpu()

    def _logits(self, pixels: Tensor) -> Tensor:
        # Not as compiled: such a network frees its graph at the first of DeepFool's backward passes.
        logits = self._attack.clones.forward(2 * pixels - 1)
        # The logarithm of the vote has the differences of logits, but vanishes where a clone is certain.
        return logits[0] if len(logits) == 1 else self._attack.vote(logits).clamp_min(PROBABILITY_FLOOR).log()


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Keeps the weights out of the graph, whose gradients nobody wants here."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@torch.no_grad()
def pool_probabilities(attack: ExtractionAttack, reader: Reader, draws: IterationDraws, positions: Tensor) -> Tensor:
    """The extracted model's probabilities for samples of a pool, ``(n, K)``; each process computes a share."""
    attack.clones.eval()
    share = [
        attack.vote(attack.clone_logits(reader.of_pool(batch).to(attack.device, non_blocking=True)))
        for batch in torch.split(draws.share(positions), PREDICTION_BATCH)
    ]
    return gather_shares(torch.cat(share), len(positions))
