from collections import Counter

import pytest
import torch
from torch import Tensor
from torchvision.transforms import AutoAugmentPolicy
from torchvision.transforms.v2 import AutoAugment

from lightning_extract.data import autoaugment
from lightning_extract.data.autoaugment import LEVELS, NOTHING, OPERATIONS, SETTINGS, apply_operations, auto_augment
from lightning_extract.data.draws import IterationDraws
from lightning_extract.errors import InputError

LIBRARY = AutoAugment(AutoAugmentPolicy.CIFAR10)


def draws(seed: int, rank: int = 0, world_size: int = 1) -> IterationDraws:
    return IterationDraws(seed, rank, world_size, torch.device("cpu"))


def some_pixels(count: int, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    """Noise, soft blobs of low contrast, flat images and gray ones in turn."""
    generator = torch.Generator().manual_seed(count)
    noise = torch.rand(count, channels, height, width, generator=generator)
    noise[1::4] = torch.nn.functional.avg_pool2d(noise[1::4], 5, 1, 2) * 0.8
    noise[2::4] = noise[2::4, :, :1, :1]
    noise[3::4] = noise[3::4, :1]
    return (noise * 255).round().to(torch.uint8)


def some_images(count: int, channels: int = 3) -> Tensor:
    return some_pixels(count, channels) / 127.5 - 1


def by_library(image: Tensor, operation: str, level: int, negative: bool) -> Tensor:
    """One image by torchvision, as its transform does it after drawing."""
    magnitudes, signed = LIBRARY._AUGMENTATION_SPACE[operation]
    table = magnitudes(LEVELS, *image.shape[1:])
    size = 0.0 if table is None else float(table[level]) * (-1 if signed and negative else 1)
    return LIBRARY._apply_image_or_video_transform(image, operation, size, LIBRARY.interpolation, LIBRARY._fill)


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (1, 28, 28), (3, 16, 24)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_at_each_level_and_sign_is_torchvisions(
    operation: str, channels: int, height: int, width: int
) -> None:
    pixels = some_pixels(4 * SETTINGS, channels, height, width)
    settings = torch.arange(SETTINGS).repeat_interleave(4)
    found = apply_operations(pixels, torch.full_like(settings, OPERATIONS.index(operation)), settings)
    for image, setting, changed in zip(pixels, settings.tolist(), found, strict=True):
        assert torch.equal(changed, by_library(image, operation, setting // 2, setting % 2 == 1)), setting


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_gets_its_own_sub_policy(channels: int) -> None:
    images = some_images(400, channels)
    numbers = (draws(3).uniform(400, 5).double() + 1) / 2
    found, applied = auto_augment(images, draws(3)), Counter[int]()
    for image, changed, (policy, first, second, *signs) in zip(images, found, numbers.tolist(), strict=True):
        pixels, count = ((image + 1) * 127.5).round().to(torch.uint8), 0
        pair = LIBRARY._policies[int(policy * 25)]
        for (operation, probability, level), number, sign in zip(pair, (first, second), signs, strict=True):
            if number < probability:
                pixels, count = by_library(pixels, operation, level or 0, sign < 0.5), count + 1
        assert torch.equal(changed, pixels / 127.5 - 1)
        applied[count] += 1
    assert min(applied[0], applied[1], applied[2]) > 30


def test_sub_policies_operations_and_signs_come_as_often_as_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    slots, count = [], 100_000
    record = lambda pixels, operations, settings: slots.append((operations, settings)) or pixels  # noqa: E731
    monkeypatch.setattr(autoaugment, "apply_operations", record)
    auto_augment(torch.zeros(count, 1, 1, 1), draws(0))
    for slot, (operations, settings) in enumerate(slots):
        expected = Counter[tuple[int, int]]()
        for pair in LIBRARY._policies:
            operation, probability, level = pair[slot]
            expected[OPERATIONS.index(operation), level or 0] += probability / 25
        found = Counter(zip(operations.tolist(), (settings // 2).tolist(), strict=True))
        for key, share in expected.items():
            assert found.pop(key, 0) / count == pytest.approx(share, abs=0.004)
        assert {operation for operation, _ in found} == {NOTHING}
        assert (settings % 2).double().mean().item() == pytest.approx(0.5, abs=0.01)
    both = ((slots[0][0] != NOTHING) & (slots[1][0] != NOTHING)).double().mean().item()
    assert both == pytest.approx(sum(a[1] * b[1] for a, b in LIBRARY._policies) / 25, abs=0.01)


def test_where_nothing_is_applied_the_image_is_rounded_to_8_bit() -> None:
    pixels = some_pixels(8)
    nothing = torch.full((8,), NOTHING)
    assert torch.equal(apply_operations(pixels, nothing, torch.zeros_like(nothing)), pixels)
    numbers = (draws(1).uniform(300, 5).double() + 1) / 2
    probabilities = torch.tensor([[p for _, p, _ in pair] for pair in LIBRARY._policies])[(numbers[:, 0] * 25).long()]
    spared = (numbers[:, 1:3] >= probabilities).all(dim=1)
    images = torch.rand(300, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    difference = (auto_augment(images, draws(1)) - images).abs()
    assert 30 < spared.sum() < 100
    assert difference[spared].max() <= 1 / 255 + 1e-6
    assert difference[~spared].max() > 0.5


def test_range_type_and_gradient() -> None:
    images = (some_images(256) * 1.5).half().requires_grad_()  # values outside are clipped
    before = images.detach().clone()
    found = auto_augment(images, draws(2))
    assert found.dtype == torch.float32
    assert found.shape == images.shape
    assert not found.requires_grad
    assert (found.min(), found.max()) == (-1, 1)
    assert torch.equal(images, before)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_give_the_images_of_one(processes: int) -> None:
    images = some_images(64)
    whole, shares = draws(5), [draws(5, rank, processes) for rank in range(processes)]
    for _ in range(2):  # the random numbers stay in step
        found = [auto_augment(part, one) for part, one in zip(images.chunk(processes), shares, strict=True)]
        assert torch.equal(torch.cat(found), auto_augment(images, whole))


def test_the_seed_decides_and_the_global_random_state_does_not() -> None:
    images = some_images(64)
    state = torch.get_rng_state()
    first = auto_augment(images, draws(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(auto_augment(images, draws(1)), first)
    assert not torch.equal(auto_augment(images, draws(2)), first)


def test_autocast_changes_nothing() -> None:
    images = some_images(128)
    expected = auto_augment(images, draws(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(auto_augment(images, draws(1)), expected)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_are_refused(channels: int) -> None:
    with pytest.raises(InputError, match=f"1 or 3 channels, not {channels}; choose"):
        auto_augment(torch.zeros(2, channels, 8, 8), draws(0))
