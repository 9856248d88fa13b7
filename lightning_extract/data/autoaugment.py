"""AutoAugment for a whole batch, each image with its own sub-policy."""

from functools import lru_cache
from math import atan, degrees

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2 import functional as F

from lightning_extract.data.draws import IterationDraws
from lightning_extract.errors import InputError
from lightning_extract.functional.precision import full_float32

# Operations that are computed together: their outcome is looked up in one table, or they are one kind alone.
GROUPS = (
    ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    ("Brightness", "Posterize", "Solarize", "Invert"),
    ("Color",),
    ("Contrast",),
    ("Sharpness",),
    ("AutoContrast",),
    ("Equalize",),
)
OPERATIONS = [operation for group in GROUPS for operation in group]
GROUP_OF = torch.tensor([number for number, group in enumerate(GROUPS) for _ in group] + [len(GROUPS)])
PLACE_IN_GROUP = torch.tensor([place for group in GROUPS for place, _ in enumerate(group)] + [0])
NOTHING = len(OPERATIONS)

LEVELS = 10
SETTINGS = 2 * LEVELS  # setting 2n is level n, setting 2n + 1 the same with a minus

POLICY = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
# For each of the 25 sub-policies and its two slots:
SLOT_OPERATIONS = torch.tensor([[OPERATIONS.index(name) for name, _, _ in pair] for pair in POLICY])
SLOT_PROBABILITIES = torch.tensor([[probability for _, probability, _ in pair] for pair in POLICY], dtype=torch.double)
SLOT_LEVELS = torch.tensor([[level or 0 for _, _, level in pair] for pair in POLICY])


def auto_augment(images: Tensor, draws: IterationDraws) -> Tensor:
    """Changes each image by one of the 25 sub-policies that were found for CIFAR-10.

    A sub-policy is two operations, each applied with a probability of its own, where it has one with a random sign.
    The images are rounded to 8 bit and the operations are torchvision's; no gradient passes.

    Reference:
        Cubuk et al., AutoAugment, CVPR 2019, the policy for CIFAR-10; used by Sanyal et al., DFMS, CVPR 2022.

    Deviations:
        The official code of DFMS shears, shifts and rotates by scipy with cubic splines; here the nearest pixel is
        taken, as in torchvision, whose magnitudes and random signs these are too. Both fill with black.

    Args:
        images: This process's images, pixels in [-1, 1].
        draws: The random numbers of the global batch.

    Shape:
        ``(B, C, H, W)`` with 1 or 3 channels to the same, float32.

    Raises:
        InputError: The images have another number of channels.
    """
    if images.shape[1] not in (1, 3):
        raise InputError(f"AutoAugment takes images of 1 or 3 channels, not {images.shape[1]}; choose such a data set")
    numbers = (draws.uniform_on_host(len(images) * draws.world_size, 5).double() + 1) / 2
    chosen = (numbers[:, 0] * len(POLICY)).long()
    applied = numbers[:, 1:3] < SLOT_PROBABILITIES[chosen]
    operations = SLOT_OPERATIONS[chosen].where(applied, NOTHING)
    settings = 2 * SLOT_LEVELS[chosen] + (numbers[:, 3:] < 0.5)
    pixels = (images.detach().float() + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    for slot in range(2):
        pixels = apply_operations(pixels, operations[:, slot], settings[:, slot])
    return pixels.float().div_(127.5).sub_(1)


def apply_operations(pixels: Tensor, operations: Tensor, settings: Tensor) -> Tensor:
    """Applies one operation to each image, at most one computation for each group.

    Args:
        pixels: Images of 8 bit.
        operations: Positions in ``OPERATIONS``, or ``NOTHING``; on the CPU.
        settings: Level and sign; on the CPU. Operations without magnitude or sign ignore it.

    Shape:
        Images ``(B, C, H, W)``, int64 ``(B,)`` twice to images.
    """
    order = GROUP_OF[operations].argsort(stable=True)
    counts = GROUP_OF[operations].bincount(minlength=len(GROUPS) + 1).tolist()
    rows = (PLACE_IN_GROUP[operations] * SETTINGS + settings)[order]
    order, back, rows = torch.stack([order, order.argsort(), rows]).to(pixels.device, non_blocking=True).unbind()
    grouped = pixels.index_select(0, order)  # many times faster than an index in brackets, which goes pixel by pixel
    computations = (_move, _map_values, _color, _contrast, _sharpen, _auto_contrast, _equalize)
    with full_float32(pixels.device.type):
        # The last part has no computation: nothing is applied to it.
        for compute, part, row in zip(
            computations, grouped.split_with_sizes(counts), rows.split_with_sizes(counts), strict=False
        ):
            if len(part):
                part.copy_(compute(part, row))
    return grouped.index_select(0, back)


def magnitude(operation: str, setting: int, side: int) -> float:
    """The magnitude of a setting, in the operation's unit: slope, pixels, degrees, blend factor, bits, pixel value.

    Args:
        operation: A member of ``OPERATIONS``.
        setting: Level and sign.
        side: Width of the images for TranslateX, height for TranslateY.
    """
    level, sign = setting // 2, -1.0 if setting % 2 else 1.0
    match operation:
        case "Posterize":
            return float(8 - torch.round(torch.arange(LEVELS) / ((LEVELS - 1) / 4))[level])
        case "Solarize":
            return float(torch.linspace(255, 0, LEVELS)[level])
        case "ShearX" | "ShearY":
            largest = 0.3
        case "TranslateX" | "TranslateY":
            largest = 150 / 331 * side
        case "Rotate":
            largest = 30
        case _:
            largest = 0.9
    return sign * float(torch.linspace(0, largest, LEVELS)[level])


def _move(pixels: Tensor, rows: Tensor) -> Tensor:
    count, channels, height, width = pixels.shape
    sources = _sources(height, width, pixels.device).index_select(0, rows)
    with_black = pad(pixels.flatten(2), (0, 1))
    return with_black.gather(2, sources[:, None].expand(count, channels, -1)).view_as(pixels)


def _map_values(pixels: Tensor, rows: Tensor) -> Tensor:
    return _values(pixels.device).index_select(0, rows).gather(1, pixels.flatten(1).long()).view_as(pixels)


def _color(pixels: Tensor, rows: Tensor) -> Tensor:
    return _blend(pixels, F.adjust_saturation(pixels, 0.0), rows) if pixels.shape[1] > 1 else pixels


def _contrast(pixels: Tensor, rows: Tensor) -> Tensor:
    # Not the library's image of factor 0: that cuts the mean to an integer, which other factors do not.
    return _blend(pixels, F.rgb_to_grayscale(pixels).float().mean((1, 2, 3), keepdim=True), rows)


def _blend(pixels: Tensor, degenerate: Tensor, rows: Tensor) -> Tensor:
    kept, taken = _factors(pixels.device)[rows].view(-1, 2, 1, 1, 1).unbind(1)
    # addcmul rounds once where the library's add with a factor does; a product of its own would round twice.
    return (pixels * kept).addcmul_(degenerate, taken).clamp_(0, 255).to(torch.uint8)


def _sharpen(pixels: Tensor, rows: Tensor) -> Tensor:
    taken = _factors(pixels.device)[rows, 1].view(-1, 1, 1, 1)
    exact = pixels.float()
    return exact.addcmul(F.adjust_sharpness(pixels, 0.0) - exact, taken).clamp_(0, 255).to(torch.uint8)


def _auto_contrast(pixels: Tensor, _: Tensor) -> Tensor:
    changed: Tensor = F.autocontrast(pixels)
    return changed


def _equalize(pixels: Tensor, _: Tensor) -> Tensor:
    changed: Tensor = F.equalize(pixels)
    return changed


@lru_cache(maxsize=4)
def _sources(height: int, width: int, device: torch.device) -> Tensor:
    """For each setting of each moving operation and each pixel: which pixel comes there; ``H W`` is none, black."""
    own_number = torch.arange(1.0, height * width + 1).view(1, height, width)
    moved = []
    for operation in GROUPS[0]:
        for setting in range(SETTINGS):
            size = magnitude(operation, setting, width if operation == "TranslateX" else height)
            moved.append(_move_image(own_number, operation, size))
    sources = torch.stack(moved).flatten(1).long() - 1
    return torch.where(sources < 0, height * width, sources).to(device)


def _move_image(image: Tensor, operation: str, size: float) -> Tensor:
    shear, shift, center = [0.0, 0.0], [0, 0], None
    match operation:
        case "ShearX":
            shear, center = [degrees(atan(size)), 0.0], [0, 0]
        case "ShearY":
            shear, center = [0.0, degrees(atan(size))], [0, 0]
        case "TranslateX":
            shift = [int(size), 0]
        case "TranslateY":
            shift = [0, int(size)]
    if operation == "Rotate":
        moved: Tensor = F.rotate(image, size)
    else:
        moved = F.affine(image, angle=0.0, translate=shift, scale=1.0, shear=shear, center=center)
    return moved


@lru_cache(maxsize=4)
def _values(device: torch.device) -> Tensor:
    """For each setting of each operation on single values: what becomes of 0 to 255."""
    every_value = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    mapped = []
    for setting in range(SETTINGS):
        mapped.append(F.adjust_brightness(every_value, 1 + magnitude("Brightness", setting, 0)))
    for setting in range(SETTINGS):
        mapped.append(F.posterize(every_value, int(magnitude("Posterize", setting, 0))))
    for setting in range(SETTINGS):
        mapped.append(F.solarize(every_value, magnitude("Solarize", setting, 0)))
    mapped += SETTINGS * [F.invert(every_value)]
    return torch.stack(mapped).flatten(1).to(device)


@lru_cache(maxsize=4)
def _factors(device: torch.device) -> Tensor:
    """For each setting: the share of the image that is kept, and that of its degenerate form, 1 in sum."""
    kept = [1 + magnitude("Color", setting, 0) for setting in range(SETTINGS)]
    return torch.tensor([[share, 1 - share] for share in kept], device=device)
