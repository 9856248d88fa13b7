import pytest
import torch

from lightning_extract.data.draws import Iteration, mix_seed
from lightning_extract.data.generator_stream import GeneratorStream
from lightning_extract.errors import InputError


def stream(length: int = 4) -> GeneratorStream:
    return GeneratorStream("mnist5k", iterations_per_epoch=length)


def test_an_epoch_continues_the_numbers_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    loader = stream().train_dataloader()
    assert len(loader) == 4
    found = []
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        found += list(loader)
    assert found == [Iteration(number, mix_seed(7, number)) for number in range(12)]
    assert all(isinstance(item, Iteration) for item in found)


def test_an_iterator_made_before_the_epoch_is_announced_yields_that_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    loader = stream().train_dataloader()
    iterator = iter(loader)  # a resumed fit asks for it first
    loader.sampler.set_epoch(5)  # type: ignore[attr-defined]
    assert [item.number for item in iterator] == [20, 21, 22, 23]


def test_the_stream_follows_the_run_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = {}
    for run in ("0", "1"):
        monkeypatch.setenv("PL_GLOBAL_SEED", run)
        seeds[run] = {item.seed for item in stream().train_dataloader()}
    assert not seeds["0"] & seeds["1"]


def test_iterating_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    assert len(list(stream().train_dataloader())) == 4
    assert torch.equal(torch.get_rng_state(), before)


def test_an_epoch_has_at_least_one_iteration() -> None:
    with pytest.raises(InputError, match="iterations_per_epoch is 0"):
        stream(0)
