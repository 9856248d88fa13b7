"""Checks of the images a network is built for or given."""

from torch import Tensor

from lightning_extract.errors import InputError


def require_size(network: str, sides: tuple[int, ...], image_size: int) -> None:
    """Refuses to build a network for images of another side.

    Raises:
        InputError: The image size is none of the sides.
    """
    _require(network, sides, image_size, image_size)


def require_images(network: str, sides: tuple[int, ...], images: Tensor) -> None:
    """Refuses a batch of images of another size: some would pass unnoticed, as pools round the side down.

    Raises:
        InputError: The images are not square, or of none of the sides.
    """
    _require(network, sides, images.shape[-2], images.shape[-1])


def _require(network: str, sides: tuple[int, ...], height: int, width: int) -> None:
    if height != width or height not in sides:
        allowed = " or ".join(f"{side}x{side}" for side in sides)
        settings = " or ".join(map(str, sides))
        raise InputError(
            f"{network} takes images of {allowed} pixels, not {height}x{width}; "
            f"set image_size to {settings} or choose a network of the cnn_ family."
        )
