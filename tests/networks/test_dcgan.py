import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_extract.errors import InputError
from lightning_extract.networks import (
    AllReduceBatchNorm,
    DCGANDiscriminator,
    DCGANGenerator,
    initialise_dcgan,
    synchronise_batch_norm,
)

Network = DCGANGenerator | DCGANDiscriminator


def convolutions(network: nn.Module) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    return [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]


def images(count: int = 4, channels: int = 3, side: int = 32) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(("latent_dim", "width", "channels"), [(1, 1, 1), (100, 8, 3)])
def test_generator_takes_latents_of_two_shapes(latent_dim: int, width: int, channels: int) -> None:
    torch.manual_seed(0)
    generator = DCGANGenerator(latent_dim, width, channels)
    latents = torch.randn(4, latent_dim)
    made = generator(latents)
    assert made.shape == (4, channels, 32, 32)
    assert made.abs().max() < 1
    assert torch.equal(generator(latents[..., None, None]), made)


def test_generator_is_tanh_of_what_it_gives_before() -> None:
    torch.manual_seed(0)
    # Large weights, so that the map leaves (-1, 1).
    generator = DCGANGenerator(10, width=4)
    with torch.no_grad():
        convolutions(generator)[-1].weight.mul_(100)
    latents = torch.randn(8, 10)
    before = generator.pre_activation(latents)
    assert before.abs().max() > 1
    assert torch.equal(generator(latents), before.tanh())


@pytest.mark.parametrize("channels", [1, 3])
def test_discriminator_gives_the_sigmoid_of_its_logits(channels: int) -> None:
    torch.manual_seed(0)
    discriminator = DCGANDiscriminator(width=4, channels=channels)
    logits = discriminator.logits(images(5, channels))
    assert logits.shape == (5,)
    assert_close(discriminator(images(5, channels)), 1 / (1 + torch.exp(-logits)))
    assert discriminator.logits(images(1, channels)).shape == (1,)


def test_logits_allow_a_loss_under_autocast() -> None:
    discriminator = DCGANDiscriminator(width=4)
    with torch.autocast("cpu", torch.bfloat16):
        logits = discriminator.logits(images())
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in discriminator.parameters())


def test_width_scales_every_hidden_map() -> None:
    assert [c.in_channels for c in convolutions(DCGANGenerator(width=8))] == [100, 64, 32, 16, 8]
    assert [c.out_channels for c in convolutions(DCGANDiscriminator(width=8))] == [8, 16, 32, 64, 1]


@pytest.mark.parametrize("kind", [DCGANGenerator, DCGANDiscriminator])
def test_initial_weights(kind: type[Network]) -> None:
    torch.manual_seed(0)
    network = kind()
    weights = [c.weight for c in convolutions(network)]
    assert len(weights) == 5
    for weight in weights:
        # Four standard errors of the mean and of the deviation.
        assert abs(weight.mean().item()) < 4 * 0.02 / weight.numel() ** 0.5
        assert abs(weight.std().item() / 0.02 - 1) < 4 / (2 * weight.numel()) ** 0.5
    assert all(c.bias is None for c in convolutions(network))
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == (4 if kind is DCGANGenerator else 3)
    for norm in norms:
        assert abs(norm.weight.mean().item() - 1) < 4 * 0.02 / norm.num_features**0.5
        assert abs(norm.weight.std().item() / 0.02 - 1) < 4 / (2 * norm.num_features) ** 0.5
        assert not norm.bias.any()


def restart(network: nn.Module) -> dict[str, Tensor]:
    torch.manual_seed(3)
    initialise_dcgan(network)
    return network.state_dict()


@pytest.mark.parametrize("synchronised", [False, True])
def test_a_trained_network_starts_again_in_place(synchronised: bool) -> None:
    network: nn.Module = DCGANDiscriminator(width=4)
    if synchronised:
        network = synchronise_batch_norm(network, "cpu")
        assert any(isinstance(layer, AllReduceBatchNorm) for layer in network.modules())
    network(images())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    before = list(network.parameters())
    found, expected = restart(network), restart(DCGANDiscriminator(width=4))
    assert all(a is b for a, b in zip(before, network.parameters(), strict=True))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("kind", [DCGANGenerator, DCGANDiscriminator])
@pytest.mark.parametrize("image_size", [28, 64])
def test_other_sizes_than_32_are_refused(kind: type[Network], image_size: int) -> None:
    with pytest.raises(InputError, match=f"32x32 pixels, not {image_size}x{image_size}; set image_size to 32"):
        kind(image_size=image_size)


def test_images_of_another_size_are_refused() -> None:
    # Maps of 35x35 pixels would be rounded down to those of 32x32.
    with pytest.raises(InputError, match="discriminator is built for images of 32x32 pixels, not 35x35"):
        DCGANDiscriminator(width=1)(images(side=35))


@pytest.mark.parametrize("name", ["latent_dim", "width", "channels"])
def test_sizes_are_positive(name: str) -> None:
    with pytest.raises(InputError, match=f"the DCGAN generator's {name} is 0; set it to 1 or more"):
        DCGANGenerator(**{name: 0})
    if name != "latent_dim":
        with pytest.raises(InputError, match=f"the DCGAN discriminator's {name} is -1"):
            DCGANDiscriminator(**{name: -1})
