"""The generator and the discriminator of DFMS's generative adversarial network."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_extract.errors import InputError

# Radford et al., DCGAN, ICLR 2016, section 4; the official DFMS code also draws BatchNorm's weights so.
LEAKY_SLOPE = 0.2
INITIAL_DEVIATION = 0.02
SIDE = 32


class DCGANGenerator(nn.Module):
    """Four transposed convolutions, from a latent vector to a map of the image side, and a 1x1 one to the channels.

    The ``state_dict`` has the official code's names.

    Reference:
        Sanyal et al., DFMS, CVPR 2022, ``dcgan_model.py`` of the official code; after Radford et al., DCGAN, ICLR 2016.

    Args:
        latent_dim: Length of a latent vector; 100 in the code.
        width: Channels of the last hidden map; the earlier ones have 8, 4 and 2 times as many. 64 in the code.
        channels: Channels of the images.
        image_size: Side of the images in pixels; 32 only.

    Shape:
        ``(B, latent_dim)`` or ``(B, latent_dim, 1, 1)`` to ``(B, channels, 32, 32)`` in (-1, 1).

    Raises:
        InputError: A size is less than one, or the image size not 32.
    """

    def __init__(self, latent_dim: int = 100, width: int = 64, channels: int = 3, image_size: int = SIDE) -> None:
        super().__init__()
        _require_positive("generator", latent_dim=latent_dim, width=width, channels=channels)
        _require_side("generator", image_size, image_size)
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent_dim, 8 * width, 4, bias=False)]
        for factor in (8, 4, 2):
            layers += [nn.BatchNorm2d(factor * width), nn.ReLU()]
            layers += [nn.ConvTranspose2d(factor * width, factor // 2 * width, 4, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, channels, 1, bias=False)]
        self.main = nn.Sequential(*layers)
        initialise_dcgan(self)

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(self.pre_activation(latents))

    def pre_activation(self, latents: Tensor) -> Tensor:
        """The images before tanh.

        Shape:
            As in the forward pass, but unbounded.
        """
        images: Tensor = self.main(latents[..., None, None] if latents.dim() == 2 else latents)
        return images


class DCGANDiscriminator(nn.Module):
    """Five convolutions that shrink an image to one number: the probability that it is real.

    The ``state_dict`` has the official code's names.

    Reference:
        Sanyal et al., DFMS, CVPR 2022, ``dcgan_model.py`` of the official code; after Radford et al., DCGAN, ICLR 2016.

    Args:
        width: Channels of the first map; the later ones have 2, 4 and 8 times as many. 64 in the code.
        channels: Channels of the images.
        image_size: Side of the images in pixels; 32 only, as the last convolution spans its whole input.

    Shape:
        ``(B, channels, 32, 32)`` to ``(B,)`` probabilities.

    Raises:
        InputError: A size is less than one, or the image size not 32.
    """

    def __init__(self, width: int = 64, channels: int = 3, image_size: int = SIDE) -> None:
        super().__init__()
        _require_positive("discriminator", width=width, channels=channels)
        _require_side("discriminator", image_size, image_size)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 4, stride=2, padding=1, bias=False),
            nn.LeakyReLU(LEAKY_SLOPE),
        ]
        for factor in (2, 4, 8):
            layers += [nn.Conv2d(factor // 2 * width, factor * width, 4, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(factor * width), nn.LeakyReLU(LEAKY_SLOPE)]
        self.main = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 2, stride=2, bias=False))
        initialise_dcgan(self)

    def forward(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(images))

    def logits(self, images: Tensor) -> Tensor:
        """The answers before the sigmoid, for losses: autocast refuses binary cross-entropy of probabilities.

        Shape:
            ``(B, channels, 32, 32)`` to ``(B,)``.
        """
        # Some other sides would pass unnoticed, as strides round down.
        _require_side("discriminator", images.shape[-2], images.shape[-1])
        logits: Tensor = self.main(images).flatten()
        return logits


def initialise_dcgan(module: nn.Module) -> None:
    """Draws a network's initial weights in place, from torch's global random generator.

    Weights of convolutions come from N(0, 0.02^2), those of BatchNorm from N(1, 0.02^2) with shifts 0 and fresh
    running statistics, also where BatchNorm is synchronised over processes. Nothing else is changed.

    Reference:
        Radford et al., DCGAN, ICLR 2016, section 4; BatchNorm's as in the official DFMS code.

    Args:
        module: A generator or a discriminator of this file.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, 0.0, INITIAL_DEVIATION)
        elif isinstance(layer, _BatchNorm):
            nn.init.normal_(layer.weight, 1.0, INITIAL_DEVIATION)
            nn.init.zeros_(layer.bias)
            layer.reset_running_stats()


def _require_positive(network: str, **sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise InputError(f"the DCGAN {network}'s {name} is {value}; set it to 1 or more.")


def _require_side(network: str, height: int, width: int) -> None:
    if (height, width) != (SIDE, SIDE):
        raise InputError(
            f"the DCGAN {network} is built for images of {SIDE}x{SIDE} pixels, not {height}x{width}; "
            f"set image_size to {SIDE} and resize the data to it."
        )
