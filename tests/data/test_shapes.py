from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_extract.data import shapes as module
from lightning_extract.data.shapes import KINDS, ShapeDraws, SyntheticShapes, draw_shapes, render_shapes
from lightning_extract.errors import InputError

PAPER = SyntheticShapes()
SMALL = SyntheticShapes(count=40, shapes=6, canvas=20, smallest=3, largest=7, blur=3)


def covers(kind: str, height: int, width: int, row: int, column: int) -> bool:
    """Whether a shape covers the pixel, by its outline in fractions of its box."""
    if kind == "rectangle":
        return True
    if kind == "triangle":  # from the middle of the first row to the corners of the last, and half a pixel more
        down = row / (height - 1)
        return abs(column - (width - 1) / 2) <= down * (width - 1) / 2 + 0.5 + 1e-9
    return ((row + 0.5) / height * 2 - 1) ** 2 + ((column + 0.5) / width * 2 - 1) ** 2 <= 1 + 1e-9


def slow_picture(settings: SyntheticShapes, draws: ShapeDraws, image: int) -> NDArray[np.int64]:
    """One canvas (canvas, canvas, 3), pixel by pixel, one shape over the other."""
    picture = np.empty((settings.canvas, settings.canvas, 3), np.int64)
    picture[:] = draws.background[image].numpy()
    for shape in range(settings.shapes):
        kind, height, width, top, left = (int(numbers[image, shape]) for numbers in draws[2:])
        for row in range(height):
            for column in range(width):
                if covers(KINDS[kind], height, width, row, column):
                    picture[top + row, left + column] = draws.colour[image, shape].numpy()
    return picture


def slow_image(settings: SyntheticShapes, draws: ShapeDraws, image: int, size: int) -> NDArray[np.uint8]:
    """One image (3, size, size): the whole canvas is blurred, then pixels are taken."""
    picture, before = slow_picture(settings, draws, image), settings.blur // 2
    after = settings.blur - 1 - before
    wide = np.pad(picture, ((before, after), (before, after), (0, 0)), mode="reflect")
    blurred = np.zeros_like(picture)
    for row in range(settings.canvas):
        for column in range(settings.canvas):
            box = wide[row : row + settings.blur, column : column + settings.blur]
            blurred[row, column] = np.floor(box.mean(axis=(0, 1)) + 0.5 + 1e-9)
    kept = [int(position * settings.canvas / size + 1e-9) for position in range(size)]
    return blurred[kept][:, kept].transpose(2, 0, 1).astype(np.uint8)


def images(settings: SyntheticShapes = SMALL, count: int = 12, image_size: int = 8, channels: int = 3) -> Tensor:
    return render_shapes(settings, torch.arange(count), image_size, channels)


@pytest.mark.parametrize(
    ("settings", "count", "size"),
    [
        (PAPER, 3, 32),
        (SMALL, 12, 8),
        (replace(SMALL, blur=1, shapes=30), 12, 20),
        (replace(SMALL, blur=20), 4, 7),
        (replace(SMALL, largest=20, smallest=20), 4, 8),
        (replace(SMALL, gray=True, blur=2), 4, 50),
    ],
    ids=["paper", "small", "sharp", "all blurred", "canvas full", "enlarged grey"],
)
def test_images_are_those_of_a_slow_painter(settings: SyntheticShapes, count: int, size: int) -> None:
    draws = draw_shapes(settings, torch.arange(count))
    fast = images(settings, count, size)
    for image in range(count):
        assert np.array_equal(fast[image].numpy(), slow_image(settings, draws, image, size))


def test_later_shapes_cover_earlier() -> None:
    settings = SyntheticShapes(shapes=20, canvas=8, smallest=8, largest=8, blur=1)  # all over the canvas
    draws = draw_shapes(settings, torch.arange(50))
    last_is_rectangle = draws.kind[:, -1] == KINDS.index("rectangle")
    assert 0 < last_is_rectangle.sum() < 50
    expected = draws.colour[:, -1].view(50, 3, 1, 1).expand(50, 3, 8, 8).to(torch.uint8)
    drawn = images(settings, 50, 8)
    assert torch.equal(drawn[last_is_rectangle], expected[last_is_rectangle])
    assert torch.equal(drawn[:, :, 4, 4], expected[:, :, 4, 4])


def test_an_image_hangs_on_its_number_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = images(count=40)
    monkeypatch.setattr(module, "CHUNK_PIXELS", 3 * 27**2)
    for positions in ([3], [39, 0, 17, 17], list(range(40)), []):
        assert torch.equal(render_shapes(SMALL, torch.tensor(positions).long(), 8, 3), whole[positions])
    assert torch.equal(images(replace(SMALL, count=10**9, cache="x"), 40), whole)


def test_images_differ_from_each_other_and_between_seeds() -> None:
    both = torch.cat([images(), images(replace(SMALL, seed=1))])
    assert len(torch.unique(both.flatten(1), dim=0)) == 24


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    images()
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_fill_their_ranges_evenly() -> None:
    draws = draw_shapes(PAPER, torch.arange(400))
    circle = draws.kind == KINDS.index("circle")
    counts = draws.kind.flatten().bincount()
    assert (counts - 5000).abs().max() < 5 * (20_000 * 3 / 16) ** 0.5  # binomial: a quarter each
    for size in (draws.height, draws.width):
        assert set(size.flatten().tolist()) == {5, 6, 7, 8, 9, 10}
    assert torch.equal(draws.height[circle], draws.width[circle])
    assert not torch.equal(draws.height[~circle], draws.width[~circle])
    for start, size in ((draws.top, draws.height), (draws.left, draws.width)):
        assert start.min() == 0
        assert (start + size).max() == 100
    assert set(draws.colour.flatten().tolist()) == set(range(255))
    assert draws.colour.double().mean() == pytest.approx(127, abs=2)
    assert draws.background.double().std(dim=0).min() > 60


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_fill_their_boxes(kind: str) -> None:
    settings = replace(PAPER, shapes=1, blur=1)
    draws = draw_shapes(settings, torch.arange(400))
    chosen = (draws.kind[:, 0] == KINDS.index(kind)).nonzero()[:, 0]
    painted = (render_shapes(settings, chosen, 100, 3) != draws.background[chosen].view(-1, 3, 1, 1)).any(dim=1)
    assert len(chosen) > 50
    for image, position in enumerate(chosen.tolist()):
        rows, columns = painted[image].nonzero().unbind(1)
        height, width, top, left = (int(numbers[position, 0]) for numbers in draws[3:])
        assert (int(rows.min()), int(columns.min())) == (top, left)
        assert (int(rows.max()), int(columns.max())) == (top + height - 1, left + width - 1)


def test_gray_images_have_equal_channels() -> None:
    gray = images(replace(SMALL, gray=True))
    assert torch.equal(gray[:, :1].expand_as(gray), gray)
    assert not torch.equal(images()[:, 0], images()[:, 1])
    for settings in (SMALL, replace(SMALL, gray=True)):
        assert torch.equal(images(settings, channels=1), gray[:, :1])


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_bytes_of_the_size_asked_for(channels: int) -> None:
    found = images(image_size=11, channels=channels)
    assert (found.dtype, found.shape) == (torch.uint8, (12, channels, 11, 11))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "shapes.count is 0, shapes.shapes 50 and shapes.canvas 100; give at least 1"),
        ({"shapes": 0}, "shapes.shapes 0 .* give at least 1"),
        ({"canvas": 0}, "shapes.canvas 0; give at least 1"),
        ({"smallest": 0}, "shapes.smallest is 0 and shapes.largest 10; give sizes from 1 to 64 pixels"),
        ({"smallest": 11}, "shapes.smallest is 11 and shapes.largest 10; .* the smaller first"),
        ({"largest": 65}, r"shapes.largest 65; give sizes from 1 to 64 pixels \(canvas 100, at most 64\)"),
        ({"canvas": 9}, r"shapes.largest 10; give sizes from 1 to 9 pixels \(canvas 9, at most 64\)"),
        ({"blur": 0}, r"shapes.blur is 0; give 1 \(none\) to 64 pixels"),
        ({"blur": 65}, r"shapes.blur is 65; give 1 \(none\) to 64 pixels"),
        ({"blur": 21, "canvas": 20}, r"shapes.blur is 21; give 1 \(none\) to 20 pixels"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SyntheticShapes(**settings)


def test_the_extremes_of_the_settings_are_drawn_right() -> None:
    settings = SyntheticShapes(shapes=1, canvas=64, smallest=64, largest=64, blur=64)
    draws = draw_shapes(settings, torch.arange(4))
    for image, drawn in enumerate(images(settings, 4, 2)):
        assert np.array_equal(drawn.numpy(), slow_image(settings, draws, image, 2))
    point = SyntheticShapes(shapes=1, canvas=1, smallest=1, largest=1, blur=1)
    assert torch.equal(images(point, 4, 1)[:, :, 0, 0], draw_shapes(point, torch.arange(4)).colour[:, 0].byte())
