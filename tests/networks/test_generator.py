import pytest
import torch

from lightning_extract.errors import InputError
from lightning_extract.networks import DFMEGenerator


@pytest.mark.parametrize(
    ("latent_dim", "width", "channels", "image_size"), [(1, 1, 1, 4), (100, 16, 1, 28), (256, 8, 3, 32)]
)
def test_images_have_the_size_asked_for(latent_dim: int, width: int, channels: int, image_size: int) -> None:
    torch.manual_seed(0)
    generator = DFMEGenerator(latent_dim, width, channels, image_size)
    images = generator(torch.randn(4, latent_dim))
    assert images.shape == (4, channels, image_size, image_size)
    assert images.abs().max() < 1


def test_forward_is_tanh_of_the_standardised_map() -> None:
    torch.manual_seed(0)
    generator = DFMEGenerator(latent_dim=10, width=4)
    latents = torch.randn(8, 10)
    before = generator.pre_activation(latents)
    assert torch.equal(generator(latents), before.tanh())
    # The last BatchNorm has no affine part: in training each channel has mean 0 and variance 1.
    torch.testing.assert_close(before.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(before.var(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-2, rtol=0)


def test_affine_adds_a_scale_and_a_shift_to_the_last_batch_norm() -> None:
    torch.manual_seed(0)
    plain, affine = DFMEGenerator(latent_dim=10, width=4), DFMEGenerator(latent_dim=10, width=4, affine=True)
    missing = affine.load_state_dict(plain.state_dict(), strict=False)
    assert missing.missing_keys == ["conv_blocks2.4.weight", "conv_blocks2.4.bias"]
    assert missing.unexpected_keys == []
    latents = torch.randn(8, 10)
    standardised = plain.pre_activation(latents)
    assert torch.equal(affine.pre_activation(latents), standardised)
    parameters = dict(affine.named_parameters())
    scale, shift = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.1, 0.2, 0.3])
    with torch.no_grad():
        parameters["conv_blocks2.4.weight"].copy_(scale)
        parameters["conv_blocks2.4.bias"].copy_(shift)
    expected = standardised * scale.view(3, 1, 1) + shift.view(3, 1, 1)
    torch.testing.assert_close(affine.pre_activation(latents), expected)


@pytest.mark.parametrize("image_size", [30, 2, 0])
def test_image_size_is_a_multiple_of_4(image_size: int) -> None:
    with pytest.raises(InputError, match=f"image_size of {image_size} is impossible"):
        DFMEGenerator(image_size=image_size)


@pytest.mark.parametrize("name", ["latent_dim", "width", "channels"])
def test_sizes_are_positive(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is 0"):
        DFMEGenerator(**{"latent_dim": 1, "width": 1, "channels": 1, name: 0}, affine=False)
