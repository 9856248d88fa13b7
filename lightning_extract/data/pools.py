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

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes whose images the pool holds; empty when they are not known."""

    def batch(self, start: int, count: int, draws: IterationDraws) -> Tensor:
        """Samples number ``start`` to ``start + count`` of the run, counted from 0 over all processes.

        Args:
            start: Samples of the run before this batch.
            count: Samples in the global batch.
            draws: The iteration's draws, which know this process and its device.

        Shape:
            This process's ``(count / ranks, C, H, W)``, float32 pixels in [-1, 1].
        """


class DrawingOrder:
    """The order of samples drawn without replacement; when all have been drawn, a new permutation starts.

    It hangs on the seed only, so a resumed run needs no state and any stretch can be asked for at any time.

    Reference:
        Orekondy et al., Knockoff Nets, CVPR 2019, random policy; the new permutation is that of the official code.

    Args:
        size: Number of samples.
        seed: The run's seed.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._pass = 0
        self._order = self._permutation(0)

    def positions(self, start: int, count: int) -> Tensor:
        """Which samples come at the places ``start`` to ``start + count`` of the run, ``(count,)``."""
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


class ImagePool:
    """Images in memory, drawn without replacement, pass after pass.

    The images stay bytes in main memory, whole on every process.

    Args:
        images: Pixels, uint8.
        seed: The run's seed.
        classes: Names of the classes of the images, where known.

    Shape:
        images ``(N, C, H, W)``.

    Raises:
        InputError: The images are no bytes, or there are none.
    """

    def __init__(self, images: Tensor, seed: int, classes: tuple[str, ...] = ()) -> None:
        if images.ndim != 4 or images.dtype != torch.uint8 or len(images) == 0:
            raise InputError(
                f"a pool must be uint8 (N, C, H, W) with N >= 1, got {images.dtype} {tuple(images.shape)}; "
                "give at least one image, as bytes"
            )
        self.images, self.order, self.classes = images, DrawingOrder(len(images), seed), classes

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.images)

    def batch(self, start: int, count: int, draws: IterationDraws) -> Tensor:
        chosen = draws.share(self.order.positions(start, count))
        return images_to_unit_range(self.images[chosen].to(draws.device))

    def queries(self, positions: Tensor) -> Tensor:
        """Images by their positions, int64 from 0 in any order, on the CPU.

        Shape:
            ``(n,)`` to ``(n, C, H, W)``, float32 pixels in [-1, 1].
        """
        return images_to_unit_range(self.images[positions])


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
    classes: tuple[str, ...] = ()

    def __init__(self, kind: NoiseKind, image_shape: tuple[int, int, int]) -> None:
        self.kind, self.image_shape = kind, image_shape

    def batch(self, start: int, count: int, draws: IterationDraws) -> Tensor:
        if self.kind == "uniform_noise":
            return draws.uniform(count, *self.image_shape)
        return draws.normal(count, *self.image_shape).clamp(-1.0, 1.0)
