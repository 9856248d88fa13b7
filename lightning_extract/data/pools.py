"""Pools: where attacks without a generator take their queries from."""

from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from lightning_extract.data.draws import IterationDraws, mix_seed
from lightning_extract.data.image_set import images_to_unit_range
from lightning_extract.errors import InputError

NoiseKind = Literal["uniform_noise", "gaussian_noise"]
NOISE_KINDS: tuple[NoiseKind, ...] = get_args(NoiseKind)


class Pool(Protocol):
    """Unlabelled samples in the order in which a run buys them."""

    @property
    def size(self) -> int | None:
        """Number of different samples; None for endless noise."""

    def batch(self, start: int, count: int, draws: IterationDraws) -> Tensor:
        """Samples number ``start`` to ``start + count`` of the run, counted from 0 over all processes.

        Args:
            start: Samples of the run before this batch.
            count: Samples in the global batch.
            draws: The iteration's draws, which know this process and its device.

        Shape:
            This process's ``(count / ranks, C, H, W)``, float32 pixels in [-1, 1].
        """


class ImagePool:
    """Images drawn without replacement; when all have been drawn, a new permutation starts.

    The order hangs on the seed only, so a resumed run needs no state and any batch can be asked for at any time.
    The images stay bytes in main memory, whole on every process.

    Reference:
        Orekondy et al., Knockoff Nets, CVPR 2019, random policy; the new permutation is that of the official code.

    Args:
        images: Pixels, uint8.
        seed: The run's seed.

    Shape:
        images ``(N, C, H, W)``.

    Raises:
        InputError: The images are no bytes, or there are none.
    """

    def __init__(self, images: Tensor, seed: int) -> None:
        if images.ndim != 4 or images.dtype != torch.uint8 or len(images) == 0:
            raise InputError(
                f"a pool must be uint8 (N, C, H, W) with N >= 1, got {images.dtype} {tuple(images.shape)}; "
                "give at least one image, as bytes"
            )
        self.images, self.seed = images, seed
        self._pass = 0
        self._order = self._permutation(0)

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.images)

    def batch(self, start: int, count: int, draws: IterationDraws) -> Tensor:
        chosen = draws.share(self._positions(start, count))
        return images_to_unit_range(self.images[chosen].to(draws.device))

    def _positions(self, start: int, count: int) -> Tensor:
        parts = []
        stop = start + count
        while start < stop:
            number, offset = divmod(start, self.size)
            if number != self._pass:
                self._pass, self._order = number, self._permutation(number)
            parts.append(self._order[offset : offset + stop - start])
            start += len(parts[-1])
        return torch.cat(parts)

    def _permutation(self, number: int) -> Tensor:
        return torch.randperm(self.size, generator=torch.Generator().manual_seed(mix_seed(self.seed, number)))


class NoisePool:
    """Images of independent random pixels, drawn anew for every batch.

    Reference:
        uniform_noise: Tramer et al., USENIX Security 2016, as ActiveThief and MAZE use it as a baseline.
        gaussian_noise: Truong et al., DFME, CVPR 2021, section 3, the surrogate study's noise.

    Deviations:
        DFME's study fed standard normal pixels as they are. An oracle answers pixels in [-1, 1] only, so they are
        clamped: the 32 % beyond become -1 or 1.

    Args:
        kind: uniform_noise, uniform in [-1, 1); gaussian_noise, standard normal, clamped to [-1, 1].
        image_shape: Channels, height and width.
    """

    size: None = None

    def __init__(self, kind: NoiseKind, image_shape: tuple[int, int, int]) -> None:
        self.kind, self.image_shape = kind, image_shape

    def batch(self, start: int, count: int, draws: IterationDraws) -> Tensor:
        if self.kind == "uniform_noise":
            return draws.uniform(count, *self.image_shape)
        return draws.normal(count, *self.image_shape).clamp(-1.0, 1.0)
