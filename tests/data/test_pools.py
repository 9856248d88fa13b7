import random

import pytest
import torch
from torch import Tensor

from lightning_extract.data.draws import IterationDraws, mix_seed
from lightning_extract.data.pools import ImagePool, NoiseKind, NoisePool, Pool
from lightning_extract.errors import InputError

CPU = torch.device("cpu")
SIZE = 11
ONE = IterationDraws(0, 0, 1, CPU)
NOISE: list[NoiseKind] = ["uniform_noise", "gaussian_noise"]


def image_pool(seed: int = 5, size: int = SIZE) -> ImagePool:
    """Images whose one pixel is their position."""
    return ImagePool(torch.arange(size, dtype=torch.uint8).view(size, 1, 1, 1), seed)


def bought(pool: Pool, start: int, count: int, draws: IterationDraws = ONE) -> list[int]:
    """Positions of the images of a batch."""
    return [round((value + 1) * 127.5) for value in pool.batch(start, count, draws).flatten().tolist()]


def order(seed: int, passes: int, size: int = SIZE) -> list[int]:
    """All purchases of a run, pass after pass, in one list."""
    found: list[int] = []
    for number in range(passes):
        found += torch.randperm(size, generator=torch.Generator().manual_seed(mix_seed(seed, number))).tolist()
    return found


def test_each_image_is_bought_once_a_pass() -> None:
    pool = image_pool()
    purchases = [position for start in range(0, 4 * SIZE, 4) for position in bought(pool, start, 4)]
    passes = [purchases[start : start + SIZE] for start in range(0, 4 * SIZE, SIZE)]
    assert all(sorted(each) == list(range(SIZE)) for each in passes)
    assert len({tuple(each) for each in passes}) == 4  # and in another order


@pytest.mark.parametrize(
    ("start", "count"), [(0, 4), (SIZE, 1), (SIZE - 1, 2), (SIZE - 3, 3), (9, 30), (0, 3 * SIZE), (50, 5)]
)
def test_a_batch_is_a_stretch_of_the_run(start: int, count: int) -> None:
    assert bought(image_pool(), start, count) == order(5, 6)[start : start + count]


def test_purchases_need_no_memory_of_the_ones_before() -> None:
    pool, rng = image_pool(), random.Random(0)
    for _ in range(50):
        start, count = rng.randrange(60), rng.randint(1, 8)
        assert bought(pool, start, count) == bought(image_pool(), start, count)


def test_far_passes_are_as_cheap_as_the_first() -> None:
    far = 10**15
    assert sorted(bought(image_pool(), far * SIZE, SIZE)) == list(range(SIZE))


def test_order_hangs_on_the_seed_only() -> None:
    torch.manual_seed(1)
    first = bought(image_pool(), 0, SIZE)
    torch.manual_seed(2)
    assert bought(image_pool(), 0, SIZE, IterationDraws(9, 0, 1, CPU)) == first
    assert bought(image_pool(seed=6), 0, SIZE) != first


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    bought(image_pool(), 0, 3 * SIZE)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("pool", [image_pool(), *(NoisePool(kind, (1, 1, 1)) for kind in NOISE)])
@pytest.mark.parametrize("world_size", [2, 4])
def test_shares_of_the_processes_make_the_global_batch(pool: Pool, world_size: int) -> None:
    processes = [IterationDraws(3, rank, world_size, CPU) for rank in range(world_size)]
    whole = IterationDraws(3, 0, 1, CPU)
    for start in (0, 8, 16):  # the second crosses a border, and the random numbers stay in step
        shares = [pool.batch(start, 8, draws) for draws in processes]
        assert {len(share) for share in shares} == {8 // world_size}
        assert torch.equal(torch.cat(shares), pool.batch(start, 8, whole))


def test_bytes_become_pixels_between_minus_one_and_one() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    batch = ImagePool(images, 0).batch(0, 1, ONE)
    assert (batch.dtype, batch.shape) == (torch.float32, (1, 3, 1, 1))
    assert batch.flatten().tolist() == pytest.approx([-1.0, -0.6, 1.0])


def test_samples_at_any_positions() -> None:
    pool = image_pool()
    chosen = pool.queries(torch.tensor([10, 0, 3, 10]))
    assert (chosen.dtype, chosen.shape, chosen.device) == (torch.float32, (4, 1, 1, 1), CPU)
    assert chosen.flatten().tolist() == pytest.approx([position / 127.5 - 1 for position in (10, 0, 3, 10)])
    everything = pool.queries(pool.order.positions(0, SIZE))
    assert torch.equal(everything, pool.batch(0, SIZE, ONE))
    assert pool.queries(torch.arange(0)).shape == (0, 1, 1, 1)


def test_images_stay_bytes_and_one_permutation_is_kept() -> None:
    pool = image_pool()
    bought(pool, 0, 5 * SIZE)
    tensors = [value for held in (pool, pool.order) for value in vars(held).values() if isinstance(value, Tensor)]
    assert [(tensor.dtype, len(tensor)) for tensor in tensors] == [(torch.uint8, SIZE), (torch.int64, SIZE)]


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4).byte(), torch.zeros(0, 1, 4, 4).byte()]
)
def test_what_is_no_pool_is_refused(images: Tensor) -> None:
    with pytest.raises(InputError, match="a pool must be uint8"):
        ImagePool(images, 0)


def noise(kind: NoiseKind, seed: int = 0) -> Tensor:
    return NoisePool(kind, (3, 8, 8)).batch(0, 200, IterationDraws(seed, 0, 1, CPU))


@pytest.mark.parametrize("kind", NOISE)
def test_noise_hangs_on_the_iteration(kind: NoiseKind) -> None:
    assert torch.equal(noise(kind, 1), noise(kind, 1))
    assert not torch.equal(noise(kind, 1), noise(kind, 2))
    draws = IterationDraws(0, 0, 1, CPU)
    pool = NoisePool(kind, (3, 8, 8))
    assert not torch.equal(pool.batch(0, 4, draws), pool.batch(4, 4, draws))


def test_uniform_noise() -> None:
    pixels = noise("uniform_noise")
    assert pixels.shape == (200, 3, 8, 8)
    assert -1 <= pixels.min() < -0.999
    assert 0.999 < pixels.max() < 1
    assert pixels.var() == pytest.approx(1 / 3, abs=0.01)


def test_gaussian_noise_is_clamped() -> None:
    pixels = noise("gaussian_noise")
    assert pixels.min() == -1
    assert pixels.max() == 1
    assert (pixels == 1).float().mean() == pytest.approx(0.1587, abs=0.01)  # P(N(0, 1) > 1)
    inside = pixels[pixels.abs() < 1]
    assert (inside.abs() < 0.5).float().mean() == pytest.approx(0.3829 / 0.6827, abs=0.01)


def test_only_labelled_images_have_classes() -> None:
    assert ImagePool(torch.zeros(2, 1, 2, 2).byte(), 0, ("cat", "dog")).classes == ("cat", "dog")
    assert image_pool().classes == NoisePool("uniform_noise", (1, 2, 2)).classes == ()


def test_only_images_are_countable() -> None:
    assert image_pool().size == SIZE
    assert NoisePool("uniform_noise", (1, 2, 2)).size is None
