"""Labelled images in memory, as bytes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from lightning_extract.errors import InputError

CHANNEL_CHOICES = (1, 3)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split of a data set.

    Args:
        images: Pixels, uint8.
        labels: Class indices, int64.
        classes: Class names.

    Shape:
        images ``(N, C, H, H)``, labels ``(N,)``.

    Raises:
        InputError: The tensors do not belong together, or an image is not square.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8 or len(self.images) == 0:
            raise InputError(
                f"images must be uint8 (N, C, H, W) with N >= 1, got {self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.images.shape[2] != self.images.shape[3]:
            height, width = self.images.shape[2:]
            raise InputError(f"images of {height} x {width} pixels are not square; give image_size to resize them")
        if self.labels.dtype != torch.int64 or self.labels.shape != (len(self.images),):
            raise InputError(
                f"{len(self.images):,} images need as many int64 labels, got {self.labels.dtype} "
                f"{tuple(self.labels.shape)}"
            )
        lowest, highest = int(self.labels.min()), int(self.labels.max())
        if lowest < 0 or highest >= len(self.classes):
            raise InputError(f"labels from {lowest} to {highest} do not fit {len(self.classes)} classes (from 0)")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return int(self.images.shape[1])

    @property
    def image_size(self) -> int:
        """Height and width in pixels."""
        return int(self.images.shape[2])

    def batch(self, indices: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Images in [-1, 1] and labels at the given positions."""
        return images_to_unit_range(self.images[indices]), self.labels[indices]

    def converted(self, image_size: int | None = None, channels: int | None = None) -> "ImageSet":
        """The same images in another size (antialiased bilinear) or number of channels (ITU-R 601 grey)."""
        return ImageSet(convert_images(self.images, image_size, channels), self.labels, self.classes)


def convert_images(images: Tensor, image_size: int | None, channels: int | None) -> Tensor:
    """The same bytes in another size (antialiased bilinear) or number of channels (ITU-R 601 grey).

    Shape:
        ``(N, C, H, W)`` to ``(N, channels, image_size, image_size)``; what is None stays as it is.
    """
    if channels == 1 and images.shape[1] == 3:
        images = _to_grey(images)
    if image_size is not None and images.shape[2:] != (image_size, image_size):
        images = transforms.resize(
            images, [image_size, image_size], interpolation=InterpolationMode.BILINEAR, antialias=True
        )
    if channels == 3 and images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1).contiguous()
    return images


def _to_grey(images: Tensor) -> Tensor:
    # Pillow's integer form of ITU-R 601, so that folders and named sets agree; torchvision's makes white 254.
    red, green, blue = images.to(torch.int32).unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).to(torch.uint8).unsqueeze(1)


def images_to_unit_range(images: Tensor) -> Tensor:
    """Bytes to float32 pixels in [-1, 1]: 0 becomes -1, 255 becomes 1."""
    return images.to(torch.float32) / 127.5 - 1.0


def check_image_request(image_size: int | None, channels: int | None) -> None:
    """Refuses an impossible size or number of channels.

    Raises:
        InputError: Size below 1, or channels other than 1, 3 or none.
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"image_size is {image_size}, it must be at least 1 pixel")
    if channels is not None and channels not in CHANNEL_CHOICES:
        raise InputError(f"channels is {channels}, it must be 1 (grey) or 3 (colour)")
