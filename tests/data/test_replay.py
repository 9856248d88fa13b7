import random
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_extract.data.replay import ReplayBuffer, ReplayDtype
from lightning_extract.errors import InputError

CPU = torch.device("cpu")
SHAPE = (1, 2, 2)


def numbered(start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Samples with the answers start ... stop - 1, and images that can be told from them."""
    labels = torch.arange(start, stop)
    return (labels % 101 / 50.5 - 1)[:, None, None, None].expand(-1, *SHAPE), labels


def test_equals_a_slow_ring_over_random_additions() -> None:
    rng = random.Random(0)
    for size in (1, 5, 16):
        buffer, slots, added = ReplayBuffer(size, SHAPE, ()), {}, 0
        for _ in range(40):
            count = rng.randint(1, size)
            buffer.add(*numbered(added, added + count))
            for sample in range(added, added + count):
                slots[sample % size] = sample
            added += count
            assert (len(buffer), buffer.added) == (len(slots), added)
            images, labels = buffer.read(list(range(len(buffer))), CPU)
            assert labels.tolist() == [slots[position] for position in range(len(slots))]
            assert_close(images, torch.cat([numbered(n, n + 1)[0] for n in labels.tolist()]))


def test_reads_samples_and_answers_that_belong_together() -> None:
    buffer = ReplayBuffer(8, SHAPE, (3,))
    images = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    answers = torch.rand(8, 3, generator=torch.Generator().manual_seed(1))
    buffer.add(images, answers)
    found = buffer.read([6, 1], CPU)
    assert torch.equal(found[0], images[[6, 1]])
    assert torch.equal(found[1], answers[[6, 1]])


def test_what_is_read_is_a_copy() -> None:
    buffer = ReplayBuffer(4, SHAPE, ())
    buffer.add(*numbered(0, 4))
    buffer.read([0], CPU)[0].fill_(9)
    assert torch.equal(buffer.read([0], CPU)[0], numbered(0, 1)[0])


def test_draws_are_distinct_uniform_and_within_the_filled_part() -> None:
    buffer = ReplayBuffer(100, SHAPE, ())
    buffer.add(*numbered(0, 20))
    rng, counts = random.Random(0), [0] * 20
    for _ in range(2000):
        drawn = buffer.draw(5, rng)
        assert len(set(drawn)) == 5
        for position in drawn:
            counts[position] += 1
    # Each position is drawn with probability 1/4: 500 times, standard deviation 19.4.
    assert min(counts) > 500 - 5 * 19.4
    assert max(counts) < 500 + 5 * 19.4


def test_a_draw_follows_its_random_numbers() -> None:
    buffer = ReplayBuffer(100, SHAPE, ())
    buffer.add(*numbered(0, 100))
    assert buffer.draw(10, random.Random(3)) == buffer.draw(10, random.Random(3))
    assert buffer.draw(10, random.Random(3)) != buffer.draw(10, random.Random(4))


@pytest.mark.parametrize(
    ("dtype", "error"), [("float32", 0.0), ("bfloat16", 2.0**-9), ("float16", 2.0**-12), ("uint8", 0.5 / 127.5 + 1e-6)]
)
def test_error_of_stored_pixels(dtype: ReplayDtype, error: float) -> None:
    pixels = torch.linspace(-1, 1, 4001)[:, None, None, None].expand(-1, *SHAPE)
    buffer = ReplayBuffer(4001, SHAPE, (), dtype=dtype)
    buffer.add(pixels, torch.zeros(4001, dtype=torch.int64))
    found, _ = buffer.read(list(range(4001)), CPU)
    assert found.dtype == torch.float32
    assert error / 2 <= (found - pixels).abs().max() <= error
    assert (found.min(), found.max()) == (-1, 1)


def test_bytes_of_half_precision_images_are_rounded_once() -> None:
    pixels = torch.linspace(-1, 1, 4001).to(torch.bfloat16)[:, None, None, None]
    buffer = ReplayBuffer(4001, (1, 1, 1), (), dtype="uint8")
    buffer.add(pixels, torch.zeros(4001, dtype=torch.int64))
    found, _ = buffer.read(list(range(4001)), CPU)
    assert (found - pixels.float()).abs().max() <= 0.5 / 127.5 + 1e-6


def test_bytes_of_byte_images_are_exact() -> None:
    pixels = (torch.arange(256) / 127.5 - 1)[:, None, None, None]
    buffer = ReplayBuffer(256, (1, 1, 1), (), dtype="uint8")
    buffer.add(pixels, torch.zeros(256, dtype=torch.int64))
    assert torch.equal(buffer.read(list(range(256)), CPU)[0], pixels)


def test_answers_keep_their_kind() -> None:
    soft, hard = ReplayBuffer(2, SHAPE, (3,), dtype="uint8"), ReplayBuffer(2, SHAPE, (), dtype="uint8")
    soft.add(numbered(0, 1)[0], torch.tensor([[0.123456789, 0.5, 0.25]]))
    hard.add(numbered(0, 1)[0], torch.tensor([2]))
    assert torch.equal(soft.read([0], CPU)[1], torch.tensor([[0.123456789, 0.5, 0.25]]))
    assert hard.read([0], CPU)[1].tolist() == [2]


@pytest.mark.parametrize(("dtype", "bytes_each"), [("float32", 3 * 32 * 32 * 4 + 40), ("uint8", 3 * 32 * 32 + 40)])
def test_a_ring_beyond_the_free_memory_is_refused(
    dtype: ReplayDtype, bytes_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100 * bytes_each))
    ReplayBuffer(100, (3, 32, 32), (10,), dtype=dtype)
    with pytest.raises(InputError, match=r"a replay of 101 samples in .* free on cpu; lower replay.size"):
        ReplayBuffer(101, (3, 32, 32), (10,), dtype=dtype)


def test_the_message_names_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4_000_000_000))
    with pytest.raises(InputError, match=r"1,000,000 samples in float32 needs 12\.3 GB, 4\.0 GB are free"):
        ReplayBuffer(1_000_000, (3, 32, 32), (10,))


def test_copies_into_host_memory_block(monkeypatch: pytest.MonkeyPatch) -> None:
    # From an accelerator, one that does not block would be read before its data have arrived.
    copies: list[bool] = []
    original = torch.Tensor.to

    def spy(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if CPU in args:
            copies.append(kwargs.get("non_blocking", False))
        return original(self, *args, **kwargs)

    buffer = ReplayBuffer(4, SHAPE, ())
    monkeypatch.setattr(torch.Tensor, "to", spy)
    buffer.add(*numbered(0, 4))
    assert copies == [False, False]
