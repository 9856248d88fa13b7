"""Checks of the images a network is built for or given."""

from torch import Tensor

from lightning_extract.errors import InputError


def require_32_pixels(network: str, height: int, width: int) -> None:
    """Refuses every image size but 32x32.

    Raises:
        InputError: The size is another one.
    """
    if (height, width) != (32, 32):
        raise InputError(
            f"{network} takes images of 32x32 pixels, not {height}x{width}; "
            "set image_size to 32 or choose a network of the cnn_ family."
        )


def require_images_of_32_pixels(network: str, images: Tensor) -> None:
    """Refuses a batch of images of another size: some, 28x28 for one, would pass unnoticed through rounding.

    Raises:
        InputError: The images are not 32x32.
    """
    require_32_pixels(network, images.shape[-2], images.shape[-1])
