"""Pictures of random overlapping shapes: proxy images that need no data set."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_extract.data.draws import mix_seed
from lightning_extract.errors import InputError

KINDS = ("rectangle", "circle", "triangle", "ellipse")
LEVELS = 255  # 0 to 254; the official code takes a 255 for background
MOST_PIXELS = 64  # of a shape, whose masks are tabulated for all sizes, and of the blur
FIELD = 21  # bits of one channel in a packed colour: 254 times 64 x 64, the largest sum of a blur, fits
CHUNK_PIXELS = 2**19  # painted at a time, so that the pictures stay near the processor


@dataclass(frozen=True)
class SyntheticShapes:
    """Random overlapping shapes on a plain background, blurred and shrunk.

    Image i hangs on seed, i and these settings only: it is the same in every batch, process and run.

    Reference:
        Sanyal et al., Towards Data-Free Model Stealing in a Hard Label Setting, CVPR 2022 (DFMS), synthetic proxy
        data; every default is the official code's, where comments mention 200, 250 and 300 shapes too.

    Deviations:
        That code draws with scikit-image, where triangles are equilateral and ellipses turned. Here both fill an
        upright box of random height and width; only circles have equal sides.

    Args:
        count: Number of different images.
        shapes: Shapes in a picture; each is a rectangle, circle, triangle or ellipse, and covers the ones before.
        canvas: Height and width of the picture in pixels before it is shrunk to the image size.
        smallest: Least height and width of a shape, in pixels of the canvas.
        largest: Greatest height and width of a shape, in pixels of the canvas.
        blur: Side of the box blur, in pixels of the canvas; 1 leaves the picture sharp.
        gray: Whether a shape and the background have one grey level, not a colour.
        seed: Which images; the run's seed decides their order only.
        cache: Folder where the images are kept for later runs; drawn anew for every batch when empty.

    Raises:
        InputError: A number is out of its range.
    """

    count: int = 50_000
    shapes: int = 50
    canvas: int = 100
    smallest: int = 5
    largest: int = 10
    blur: int = 4
    gray: bool = False
    seed: int = 0
    cache: str = ""

    def __post_init__(self) -> None:
        if self.count < 1 or self.shapes < 1 or self.canvas < 1:
            raise InputError(
                f"shapes.count is {self.count}, shapes.shapes {self.shapes} and shapes.canvas {self.canvas}; "
                "give at least 1"
            )
        most = min(self.canvas, MOST_PIXELS)
        if not 1 <= self.smallest <= self.largest <= most:
            raise InputError(
                f"shapes.smallest is {self.smallest} and shapes.largest {self.largest}; give sizes from 1 to {most} "
                f"pixels (canvas {self.canvas}, at most {MOST_PIXELS}), the smaller first"
            )
        if not 1 <= self.blur <= most:
            raise InputError(
                f"shapes.blur is {self.blur}; give 1 (none) to {most} pixels (canvas {self.canvas}, "
                f"at most {MOST_PIXELS})"
            )


class ShapeDraws(NamedTuple):
    """What is random in n images.

    Attributes:
        background: Levels of red, green and blue, 0 to 254.
        colour: The same of each shape.
        kind: Indices of :data:`KINDS`.
        height: Pixels.
        width: Pixels.
        top: First row of the canvas.
        left: First column of the canvas.

    Shape:
        background ``(n, 3)``, colour ``(n, shapes, 3)``, the others ``(n, shapes)``; int64.
    """

    background: Tensor
    colour: Tensor
    kind: Tensor
    height: Tensor
    width: Tensor
    top: Tensor
    left: Tensor


def draw_shapes(settings: SyntheticShapes, positions: Tensor) -> ShapeDraws:
    """The draws of the images at the given positions, each from a seed of its own."""
    numbers = torch.empty(len(positions), 3 + 8 * settings.shapes, dtype=torch.int32)
    generator = torch.Generator()
    for row, position in zip(numbers, positions.tolist(), strict=True):
        row.random_(generator=generator.manual_seed(mix_seed(settings.seed, position)))
    background = numbers[:, :3].long() % LEVELS
    each = numbers[:, 3:].long().view(len(positions), settings.shapes, 8)
    colour = each[..., :3] % LEVELS
    if settings.gray:
        background, colour = background[..., :1].expand_as(background), colour[..., :1].expand_as(colour)
    kind = each[..., 3] % len(KINDS)
    sizes = settings.largest - settings.smallest + 1
    width = settings.smallest + each[..., 4] % sizes
    height = settings.smallest + each[..., 5] % sizes
    height = torch.where(kind == KINDS.index("circle"), width, height)
    top, left = each[..., 6] % (settings.canvas - height + 1), each[..., 7] % (settings.canvas - width + 1)
    return ShapeDraws(background, colour, kind, height, width, top, left)


def render_shapes(
    settings: SyntheticShapes, positions: Tensor, image_size: int, channels: int, device: torch.device | str = "cpu"
) -> Tensor:
    """The images at the given positions.

    Args:
        settings: What is drawn.
        positions: Numbers of the images, from 0.
        image_size: Height and width to shrink to (nearest pixel of the blurred picture), in pixels.
        channels: 1 (grey, that of ``gray``) or 3 (colour).
        device: Where the images are drawn.

    Shape:
        positions ``(n,)`` to uint8 ``(n, channels, image_size, image_size)``.
    """
    images = torch.empty(len(positions), channels, image_size, image_size, dtype=torch.uint8, device=device)
    chunk = max(1, CHUNK_PIXELS // (settings.canvas + settings.largest) ** 2)
    for target, part in zip(torch.split(images, chunk), torch.split(positions, chunk), strict=True):
        draws = ShapeDraws(*(numbers.to(device, non_blocking=True) for numbers in draw_shapes(settings, part)))
        target.copy_(_shrink(_paint(settings, draws), settings.blur, image_size, channels))
    return images


def _paint(settings: SyntheticShapes, draws: ShapeDraws) -> Tensor:
    """Packed colours ``(n, canvas, canvas)``."""
    device = draws.kind.device
    # A patch has the size of the largest shape, whatever the shape's own: it may reach beyond the canvas.
    side = settings.canvas + settings.largest - 1
    sizes = settings.largest - settings.smallest + 1
    masks = _masks(settings.smallest, settings.largest, device)
    mask = (draws.kind * sizes + draws.height - settings.smallest) * sizes + draws.width - settings.smallest
    patch = torch.arange(settings.largest, device=device)
    offsets = (patch[:, None] * side + patch).flatten()
    corners = draws.top * side + draws.left
    colours = _pack(draws.colour)
    picture = _pack(draws.background)[:, None].repeat(1, side * side)
    for shape in range(settings.shapes):
        pixels = corners[:, shape, None] + offsets
        painted = torch.where(masks[mask[:, shape]], colours[:, shape, None], picture.gather(1, pixels))
        picture.scatter_(1, pixels, painted)
    return picture.view(-1, side, side)[:, : settings.canvas, : settings.canvas]


@lru_cache(maxsize=4)
def _masks(smallest: int, largest: int, device: torch.device) -> Tensor:
    """Which pixels of a patch a shape covers: bool ``(kinds * heights * widths, largest * largest)``."""
    sizes = torch.arange(smallest, largest + 1)
    height, width = sizes.view(-1, 1, 1, 1), sizes.view(1, -1, 1, 1)
    row, column = torch.arange(largest).view(1, 1, -1, 1), torch.arange(largest).view(1, 1, 1, -1)
    inside = (row < height) & (column < width)
    # Twice the distance of a pixel's middle from the middle of the box: whole numbers, exact on every device.
    down, across = 2 * row + 1 - height, 2 * column + 1 - width
    ellipse = inside & ((down * width) ** 2 + (across * height) ** 2 <= (height * width) ** 2)
    # From one or two pixels in the first row to all in the last.
    triangle = inside & (across.abs() * (height - 1) <= row * (width - 1) + height - 1)
    kinds = {"rectangle": inside, "circle": ellipse, "triangle": triangle, "ellipse": ellipse}
    return torch.stack([kinds[kind] for kind in KINDS]).view(-1, largest * largest).to(device)


def _pack(colour: Tensor) -> Tensor:
    # One number a pixel: painting and blurring cost the same for three channels as for one.
    red, green, blue = colour.unbind(-1)
    return red | green << FIELD | blue << 2 * FIELD


def _shrink(picture: Tensor, blur: int, image_size: int, channels: int) -> Tensor:
    """Box blur at the pixels that the nearest resize keeps: packed ``(n, S, S)`` to ``(n, C, H, H)``."""
    canvas, device = picture.shape[-1], picture.device
    kept = torch.arange(image_size, device=device) * canvas // image_size
    # As OpenCV places and continues it: an even box reaches further up and left, borders mirror without the edge.
    taps = (kept + torch.arange(blur, device=device)[:, None] - blur // 2).abs()
    taps = torch.minimum(taps, 2 * (canvas - 1) - taps)
    rows = picture[:, taps].sum(1)
    packed = rows[:, :, taps].sum(2)
    sums = torch.stack([packed >> FIELD * channel & 2**FIELD - 1 for channel in range(channels)], dim=1)
    return ((2 * sums + blur**2) // (2 * blur**2)).to(torch.uint8)
