import random

import pytest
import torch

from lightning_extract.data.draws import IterationDraws, mix_seed

CPU = torch.device("cpu")


def draws(seed: int, rank: int = 0, world_size: int = 1) -> IterationDraws:
    return IterationDraws(seed, rank, world_size, CPU)


@pytest.mark.parametrize("world_size", [2, 4])
def test_slices_of_the_processes_make_the_global_batch(world_size: int) -> None:
    whole = draws(5)
    processes = [draws(5, rank, world_size) for rank in range(world_size)]
    for count in (8, 4, 64):  # several draws in a row, the random numbers stay in step
        assert torch.equal(torch.cat([process.normal(count, 3) for process in processes]), whole.normal(count, 3))
        assert torch.equal(torch.cat([process.uniform(count, 2) for process in processes]), whole.uniform(count, 2))
        positions = list(range(count))
        assert [position for process in processes for position in process.share(positions)] == positions
        assert [process.offset(count) for process in processes] == list(range(0, count, count // world_size))


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_directions_have_length_1_and_are_those_of_the_global_batch(world_size: int) -> None:
    whole, processes = draws(5), [draws(5, rank, world_size) for rank in range(world_size)]
    share = torch.Size([8 // world_size, 3, 4, 4])
    directions = list(zip(*(process.directions(3, share) for process in processes), strict=True))
    assert len(directions) == 3
    for shares in directions:
        found, normal = torch.cat(shares), whole.normal(8, 3, 4, 4)
        assert torch.allclose(found.flatten(1).norm(dim=1), torch.ones(8))
        assert torch.allclose(found, torch.stack([sample / sample.square().sum().sqrt() for sample in normal]))
    assert len(torch.cat([torch.cat(shares) for shares in directions]).flatten(1).unique(dim=0)) == 24


def test_processes_use_different_noise() -> None:
    assert not torch.equal(draws(5, 0, 2).normal(8, 3), draws(5, 1, 2).normal(8, 3))


def test_python_draws_are_the_same_on_every_process() -> None:
    first, second = draws(5, 0, 2), draws(5, 1, 2)
    first.normal(8, 3), second.normal(8, 3)
    assert first.python.sample(range(1000), 20) == second.python.sample(range(1000), 20)
    assert first.python.random() != draws(6).python.random()


def test_iterations_differ_and_repeat_by_their_seed() -> None:
    assert torch.equal(draws(mix_seed(0, 1)).normal(4, 4), draws(mix_seed(0, 1)).normal(4, 4))
    assert not torch.equal(draws(mix_seed(0, 1)).normal(4, 4), draws(mix_seed(0, 2)).normal(4, 4))


def test_the_global_random_state_is_left_alone() -> None:
    before, python = torch.get_rng_state(), random.getstate()
    some = draws(3)
    some.normal(4, 4), some.uniform(4, 4), some.python.random()
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == python


def test_moments_and_ranges() -> None:
    normal, uniform = draws(0).normal(20_000), draws(0).uniform(20_000)
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    assert -1 <= uniform.min() < -0.999
    assert 0.999 < uniform.max() < 1
    assert abs(uniform.mean()) < 0.03


def test_seeds_are_distinct_and_fit_63_bits() -> None:
    seeds = {mix_seed(run, number) for run in range(20) for number in range(1000)}
    assert len(seeds) == 20_000
    assert min(seeds) >= 0
    assert 2**62 < max(seeds) < 2**63
    assert mix_seed(1, 23) != mix_seed(12, 3)
    assert mix_seed(0, 1) != mix_seed(1, 0)


def test_seeds_are_those_of_earlier_releases() -> None:
    assert (mix_seed(0, 0), mix_seed(3, 78_124)) == (7689419447139100721, 6873618015891925322)
