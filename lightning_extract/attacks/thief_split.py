"""A thief pool in two: samples to train on, and samples to validate by."""

import hashlib

import torch
from torch import Tensor

from lightning_extract.data.draws import mix_seed
from lightning_extract.data.seeds import run_seed
from lightning_extract.data.thief_pool import ThiefPool
from lightning_extract.errors import InputError

SPLIT_DRAW = -2  # its seed; iterations are numbered from 0
SAMPLES_OF_A_FINGERPRINT = 64


class ThiefSplit:
    """Draws, by the run's seed, which samples of a pool validate and which may be trained on.

    Args:
        pool: The pool.
        validation_share: Share of the pool that validates.
    """

    def __init__(self, pool: ThiefPool, validation_share: float) -> None:
        self.pool, self.size = pool, pool.size
        seed = mix_seed(run_seed(), SPLIT_DRAW)
        order = torch.randperm(self.size, generator=torch.Generator().manual_seed(seed))
        self._validation, self._training = order.tensor_split([round(validation_share * self.size)])

    def refuse_if_too_small(self, validation: int, training: int) -> None:
        """Compares the pool with what will be bought: no sample is bought twice.

        Raises:
            InputError: It is smaller.
        """
        for name, wanted, there in (
            ("to validate by", validation, len(self._validation)),
            ("to train on", training, len(self._training)),
        ):
            if wanted > there:
                raise InputError(
                    f"the budget buys {wanted:,} samples {name}, but the pool of {self.size:,} has {there:,} of them; "
                    "give a larger pool, lower query_budget, or change rounds.validation_pool"
                )

    def validation(self, count: int) -> Tensor:
        """Random positions of the validation part, ``(count,)``."""
        return self._validation[:count]

    def seed(self, count: int) -> Tensor:
        """Random positions of the training part, ``(count,)``."""
        return self._training[:count]

    def unbought(self, bought: Tensor) -> Tensor:
        """The positions of the training part that are not bought, ascending."""
        left = torch.zeros(self.size, dtype=torch.bool)
        left[self._training] = True
        left[bought] = False
        return left.nonzero().flatten()

    @property
    def fingerprint(self) -> str:
        """What another pool would hardly have: a digest of its size and of some of its samples."""
        samples = self.pool.queries(self._training[:SAMPLES_OF_A_FINGERPRINT])
        content = samples.numpy().tobytes() if isinstance(samples, Tensor) else "\n".join(samples).encode()
        return hashlib.blake2b(f"{self.size}:".encode() + content, digest_size=16).hexdigest()

    def refuse_other_pool(self, fingerprint: str) -> None:
        """Compares the pool with that of a checkpoint.

        Raises:
            InputError: It is another one, in which the bought positions mean other samples.
        """
        if fingerprint != self.fingerprint:
            raise InputError(
                "the pool is not the one that this run began with: its size or its samples have changed; restore it, "
                "or start in a new run folder"
            )
