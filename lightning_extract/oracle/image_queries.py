"""Queries that are images."""

from typing import Literal

import torch
from torch import Tensor

from lightning_extract.errors import InputError
from lightning_extract.victims.normalise import Normalise

InputSpace = Literal["pre_transform", "post_transform"]

# Every generator ends in tanh, in either input space.
LOWEST_PIXEL, HIGHEST_PIXEL = -1.0, 1.0


class ImageQueries:
    """How an image victim is asked.

    Args:
        image_shape: Channels, height and width of a query.
        mean: Channel means of the victim's own normalisation, for images in [0, 1].
        std: Channel deviations of the same.
        input_space: ``pre_transform``: samples are images in [-1, 1] and the victim normalises them itself;
            ``post_transform``: samples are fed to the network as they are, as DFME and Dual Students do.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        input_space: InputSpace = "pre_transform",
    ) -> None:
        self.image_shape, self.input_space = image_shape, input_space
        self._normalise = Normalise(mean, std)

    @property
    def differentiable(self) -> bool:
        """Whether answers have a gradient with respect to samples."""
        return True

    def to(self, device: torch.device) -> None:
        """Moves the normalisation to a device."""
        self._normalise.to(device)

    def check(self, samples: object) -> None:
        """Refuses what no victim could read.

        Raises:
            InputError: No tensor, or one of another shape or dtype.
        """
        if not isinstance(samples, Tensor):
            raise InputError(
                f"samples for an image victim must be a tensor of images, got {type(samples).__name__}; "
                "ask a text victim, or give images"
            )
        if not samples.is_floating_point():
            raise InputError(f"samples for the victim must be floating point, got {samples.dtype}")
        if samples.ndim != 4 or tuple(samples.shape[1:]) != self.image_shape or len(samples) == 0:
            raise InputError(
                f"samples for the victim must have shape (B, {', '.join(map(str, self.image_shape))}) with B >= 1, "
                f"got {tuple(samples.shape)}"
            )

    def in_range(self, samples: Tensor) -> Tensor:
        """Whether all pixels are finite and within their bounds: a flag on the samples' device."""
        return (samples.abs() <= HIGHEST_PIXEL).all()

    def encode(self, samples: Tensor) -> Tensor:
        """What the victim's network takes, in float32."""
        samples = samples.float()
        return self._normalised(samples) if self.input_space == "pre_transform" else samples

    def probe(self) -> Tensor:
        """One grey image."""
        return torch.zeros(1, *self.image_shape, device=self._normalise.mean.device)

    def to_input_space(self, samples: Tensor) -> Tensor:
        """Turns images in [-1, 1] into what clones see and queries look like in this input space."""
        return samples if self.input_space == "pre_transform" else self._normalised(samples)

    def _normalised(self, images: Tensor) -> Tensor:
        normalised: Tensor = self._normalise(images)
        return normalised
