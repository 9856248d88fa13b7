import pytest
import torch

from lightning_extract.data.image_batches import EpochShuffle, RankShare, batch_loader
from lightning_extract.data.image_set import ImageSet
from lightning_extract.errors import InputError


def order_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return [batch.tolist() for batch in sampler]


def test_epoch_visits_each_image_once_and_leaves_the_rest_out():
    batches = order_of(EpochShuffle(22, 5, seed=3), 0)
    assert [len(batch) for batch in batches] == [5, 5, 5, 5]
    assert len({index for batch in batches for index in batch}) == 20


def test_order_hangs_on_seed_and_epoch_only():
    first = order_of(EpochShuffle(20, 5, seed=3), 4)
    torch.rand(7)
    again = EpochShuffle(20, 5, seed=3)
    order_of(again, 1)
    assert order_of(again, 4) == first
    assert order_of(EpochShuffle(20, 5, seed=4), 4) != first
    assert order_of(again, 5) != first


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_batches_of_one_process(world_size):
    whole = order_of(EpochShuffle(26, 8, seed=1), 2)
    shares = [order_of(EpochShuffle(26, 8, 1, rank, world_size), 2) for rank in range(world_size)]
    for position, batch in enumerate(whole):
        parts = [share[position] for share in shares]
        assert {len(part) for part in parts} == {8 // world_size}
        assert sorted(index for part in parts for index in part) == sorted(batch)


def test_impossible_batches_are_refused():
    with pytest.raises(InputError, match="batch_size 9 does not divide over 2 processes"):
        EpochShuffle(100, 9, seed=0, world_size=2)
    with pytest.raises(InputError, match="batch_size 128 exceeds the 100 training samples"):
        EpochShuffle(100, 128, seed=0)


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize(("count", "batch_size"), [(1025, 512), (1000, 512), (17, 16), (100, 100), (8, 512)])
def test_evaluation_takes_each_image_once_without_padding(count, batch_size, world_size):
    shares = [RankShare(count, batch_size, rank, world_size) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    taken = [list(share) for share in shares]
    assert sorted(int(index) for batches in taken for batch in batches for index in batch) == list(range(count))
    assert all(len(batches) == len(shares[0]) and min(map(len, batches)) > 0 for batches in taken)
    assert max(sum(len(batches[i]) for batches in taken) for i in range(len(shares[0]))) <= batch_size + world_size


def test_too_few_images_for_the_processes():
    with pytest.raises(InputError, match="3 samples in batches of 512 do not occupy 8 processes"):
        RankShare(3, 512, 0, 8)


def test_loader_reads_whole_batches_without_the_global_random_state():
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    loader = batch_loader(ImageSet(images, torch.arange(10), tuple("abcdefghij")), EpochShuffle(10, 4, seed=0))
    before = torch.get_rng_state()
    batches = list(loader)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(batches) == len(loader) == 2
    for pixels, labels in batches:
        assert pixels.dtype == torch.float32
        assert torch.equal(pixels.flatten(), labels / 127.5 - 1)
