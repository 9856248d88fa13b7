"""Generators of the data-free attacks: from latent vectors to images."""

import torch
from torch import Tensor, nn

from lightning_extract.errors import InputError

from .upsample_conv import UpsampleConv2d

# Official DFME code, network/gan.py.
LEAKY_SLOPE = 0.2


class DFMEGenerator(nn.Module):
    """The generator of DFME, DisGUIDE, Dual Students and MAZE.

    A linear layer makes a map of a quarter of the image side, which is upsampled twice. The ``state_dict``
    has the official code's names.

    Reference:
        ``GeneratorA`` of the official DFME and DisGUIDE codes. DFME's text calls the upsampling linear and
        the activation ReLU; the codes have nearest upsampling and LeakyReLU, and made the published numbers.
        ``conv3_gen`` of the official MAZE code is this generator with a latent_dim of 100 and affine.

    Args:
        latent_dim: Length of a latent vector; 256 is the codes' ``nz``.
        width: Channels of the last hidden map, half those of the earlier ones; 64 is the codes' ``ngf``.
        channels: Channels of the images.
        image_size: Side of the images in pixels, a multiple of 4.
        affine: Whether the last BatchNorm has a trainable scale and shift; not in DFME's code, but in MAZE's.

    Shape:
        ``(B, latent_dim)`` to ``(B, channels, image_size, image_size)`` in (-1, 1).

    Raises:
        InputError: A size is less than one, or the image size no multiple of 4.
    """

    def __init__(
        self, latent_dim: int = 256, width: int = 64, channels: int = 3, image_size: int = 32, affine: bool = False
    ) -> None:
        super().__init__()
        for name, value in {"latent_dim": latent_dim, "width": width, "channels": channels}.items():
            if value < 1:
                raise InputError(f"the generator's {name} is {value}; set it to 1 or more.")
        if image_size < 4 or image_size % 4:
            raise InputError(
                f"the generator upsamples twice by 2, so an image_size of {image_size} is impossible; "
                "set it to a multiple of 4, such as 28 or 32."
            )
        self.map_shape = (2 * width, image_size // 4, image_size // 4)
        self.l1 = nn.Sequential(nn.Linear(latent_dim, 2 * width * (image_size // 4) ** 2))
        self.conv_blocks0 = nn.Sequential(nn.BatchNorm2d(2 * width))
        self.conv_blocks1 = nn.Sequential(
            UpsampleConv2d(2 * width, 2 * width), nn.BatchNorm2d(2 * width), nn.LeakyReLU(LEAKY_SLOPE)
        )
        self.conv_blocks2 = nn.Sequential(
            UpsampleConv2d(2 * width, width),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.BatchNorm2d(channels, affine=affine),
        )

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(self.pre_activation(latents))

    def pre_activation(self, latents: Tensor) -> Tensor:
        """The images before tanh, where DFME estimates its gradients.

        Shape:
            ``(B, latent_dim)`` to ``(B, channels, image_size, image_size)``, unbounded.
        """
        features = self.conv_blocks0(self.l1(latents).unflatten(1, self.map_shape))
        images: Tensor = self.conv_blocks2(self.conv_blocks1(features))
        return images
