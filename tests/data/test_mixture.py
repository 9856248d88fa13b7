import pytest

from lightning_extract.data.mixture import Mixture


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ((20_000, 25_000, 128, 64), 157),  # 40 classes of CIFAR-100, official code of DFMS
        ((5_000, 40_000, 128, 102), 40),  # 10 classes
        ((25_000, 25_000, 64, 64), 391),  # synthetic images
        ((128, 1_000, 64, 64), 2),  # a source that divides gives no empty batch
        ((0, 100, 0, 30), 4),
        ((100, 0, 30, 0), 4),
    ],
)
def test_an_epoch_ends_with_the_source_that_is_used_up_first(sizes: tuple[int, ...], batches: int) -> None:
    assert Mixture(*sizes).batches == batches


@pytest.mark.parametrize("sizes", [(20, 100, 8, 4), (100, 20, 8, 4), (0, 10, 0, 4), (10, 0, 4, 0), (16, 40, 8, 4)])
def test_batches_of_an_epoch_hold_each_image_once_and_the_right_number_of_each_source(sizes: tuple[int, ...]) -> None:
    mixture = Mixture(*sizes)
    order = mixture.order(seed=3, epoch=1)
    batches = [mixture.batch(*order, number) for number in range(mixture.batches)]
    everything = [position for batch in batches for position in batch]
    assert len(everything) == len(set(everything))
    assert set(everything) <= set(range(mixture.size))
    for batch in batches[:-1]:
        proxy = sum(position < mixture.proxy for position in batch)
        assert (proxy, len(batch) - proxy) == (mixture.proxy_batch, mixture.generated_batch)
    assert len(batches[-1]) == mixture.last_batch > 0
    limiting = [set(range(mixture.proxy)), set(range(mixture.proxy, mixture.size))]
    assert any(source and source <= set(everything) for source in limiting), "one source is used up"


def test_the_order_hangs_on_seed_and_epoch() -> None:
    mixture = Mixture(50, 50, 10, 10)

    def first(seed: int, epoch: int) -> list[int]:
        return mixture.batch(*mixture.order(seed, epoch), 0)

    assert first(0, 0) == first(0, 0)
    assert first(0, 0) != first(0, 1)
    assert first(0, 0) != first(1, 0)
