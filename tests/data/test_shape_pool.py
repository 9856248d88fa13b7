from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_extract.data import shape_pool
from lightning_extract.data.draws import IterationDraws
from lightning_extract.data.image_set import images_to_unit_range
from lightning_extract.data.pools import ImagePool
from lightning_extract.data.shape_pool import ShapePool, shapes_file, shapes_source, write_shapes
from lightning_extract.data.shapes import SyntheticShapes, render_shapes
from lightning_extract.errors import InputError

CPU = torch.device("cpu")
SHAPES = SyntheticShapes(count=11, shapes=3, canvas=16, smallest=2, largest=6, cache="kept")
ONE = IterationDraws(0, 0, 1, CPU)


def pool(seed: int = 5) -> ShapePool:
    return ShapePool(SHAPES, (3, 8, 8), seed)


def whole(channels: int = 3) -> Tensor:
    return render_shapes(SHAPES, torch.arange(11), 8, channels)


@pytest.mark.parametrize(("start", "count"), [(0, 4), (9, 5), (3, 40)])
def test_the_order_is_that_of_images_in_memory(start: int, count: int) -> None:
    assert torch.equal(pool().batch(start, count, ONE), ImagePool(whole(), 5).batch(start, count, ONE))
    assert not torch.equal(pool().batch(start, count, ONE), pool(seed=6).batch(start, count, ONE))


def test_a_process_draws_its_share_only(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def render(settings: SyntheticShapes, positions: Tensor, *others: Any) -> Tensor:
        drawn.append(len(positions))
        return render_shapes(settings, positions, *others)

    monkeypatch.setattr(shape_pool, "render_shapes", render)
    shares = [pool().batch(6, 8, IterationDraws(3, rank, 2, CPU)) for rank in range(2)]
    assert drawn == [4, 4]
    assert torch.equal(torch.cat(shares), pool().batch(6, 8, ONE))


def test_pixels_lie_between_minus_one_and_one() -> None:
    batch = ShapePool(SHAPES, (1, 8, 8), 0).batch(0, 11, ONE)
    assert (batch.dtype, batch.shape) == (torch.float32, (11, 1, 8, 8))
    assert torch.equal(batch, images_to_unit_range(whole(1))[ImagePool(whole(1), 0).order.positions(0, 11)])


def test_images_at_any_positions() -> None:
    assert torch.equal(pool().queries(torch.tensor([10, 0, 10])), images_to_unit_range(whole()[[10, 0, 10]]))


@pytest.mark.parametrize("chunk", [4, 11, 100])
def test_the_file_holds_all_images(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_pool, "CHUNK", chunk)
    write_shapes(SHAPES, 8, 3)
    source = shapes_source(SHAPES, 8, 3)
    assert torch.equal(source.read(torch.arange(11)), whole())
    assert (source.labels, source.classes) == (None, ())
    assert [path.name for path in Path("kept").iterdir()] == [shapes_file(SHAPES, 8, 3).name]  # nothing else is left


def test_the_file_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(SHAPES, 8, 3)
    before = shapes_file(SHAPES, 8, 3).stat().st_mtime_ns
    monkeypatch.setattr(shape_pool, "render_shapes", None)
    write_shapes(SHAPES, 8, 3)
    assert shapes_file(SHAPES, 8, 3).stat().st_mtime_ns == before


def test_without_a_cache_no_file_is_written() -> None:
    write_shapes(replace(SHAPES, cache=""), 8, 3)
    assert list(Path().iterdir()) == []


def test_other_images_have_another_file() -> None:
    changes: list[dict[str, Any]] = [
        *({name: getattr(SHAPES, name) + 1} for name in ("count", "shapes", "canvas", "smallest", "largest")),
        *({"blur": 3}, {"gray": True}, {"seed": 1}, {}),
    ]
    files = {shapes_file(replace(SHAPES, **change), 8, 3).name for change in changes}
    files |= {shapes_file(SHAPES, 9, 3).name, shapes_file(SHAPES, 8, 1).name}
    assert len(files) == len(changes) + 2
    assert shapes_file(replace(SHAPES, cache="elsewhere"), 8, 3) == Path("elsewhere", shapes_file(SHAPES, 8, 3).name)


def test_an_interrupted_run_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: Any) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(shape_pool, "render_shapes", stop)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(SHAPES, 8, 3)
    assert list(Path("kept").iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named() -> None:
    Path("kept").write_text("a file")
    with pytest.raises(
        InputError, match=r"shapes.cache is 'kept', where shapes_\w+.npy cannot be written \(File exists"
    ):
        write_shapes(SHAPES, 8, 3)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"kept/shapes_\w+.npy does not exist.* that all processes see, or leave it"):
        shapes_source(SHAPES, 8, 3)


def test_a_damaged_file_is_named() -> None:
    write_shapes(SHAPES, 8, 3)
    path = shapes_file(SHAPES, 8, 3)
    content = path.read_bytes()
    for damaged in (content[:300], content[:20], b""):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"shapes_\w+.npy is damaged; remove it, and the next run writes it anew"):
            shapes_source(SHAPES, 8, 3)
    np.save(path, np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="is damaged; remove it"):
        shapes_source(SHAPES, 8, 3)
