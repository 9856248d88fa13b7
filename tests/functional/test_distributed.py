from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_extract.functional.distributed import (
    all_reduce_sum,
    gather_shares,
    global_mean,
    process_count,
    share_bounds,
)
from tests.two_processes import rank_file, run_on_two_processes


def global_batch() -> Tensor:
    return torch.linspace(-1, 2, 24, dtype=torch.float64).sin().view(4, 6)


def negative_entropy(probabilities: Tensor) -> Tensor:
    return (probabilities * probabilities.log()).sum()


def write_results(rank: int, folder: Path) -> None:
    values = global_batch().chunk(2)[rank].requires_grad_()
    # Transposed, hence not contiguous; weighted by rank, so that the ranks' gradients differ.
    total = all_reduce_sum(values.t())
    (total_gradient,) = torch.autograd.grad(((rank + 1) * total).sum(), values)
    mean = global_mean(values.softmax(dim=1))
    (mean_gradient,) = torch.autograd.grad(negative_entropy(mean), values)
    columns = global_mean(values.t(), dim=1)
    results = {"total": total, "total_gradient": total_gradient, "mean": mean, "mean_gradient": mean_gradient}
    results["columns"] = columns
    torch.save({name: value.detach() for name, value in results.items()}, rank_file(folder, rank))


def test_one_process_reduces_nothing() -> None:
    values = global_batch()
    assert process_count() == 1
    assert all_reduce_sum(values) is values
    assert_close(global_mean(values), values.mean(dim=0))
    assert_close(global_mean(values, dim=1), values.mean(dim=1))


def test_two_processes_equal_one_on_the_whole_batch(tmp_path: Path) -> None:
    run_on_two_processes(write_results, tmp_path)
    batch = global_batch().requires_grad_()
    first, second = batch.detach().chunk(2)
    mean = batch.softmax(dim=1).mean(dim=0)
    (gradient,) = torch.autograd.grad(negative_entropy(mean), batch)
    for rank in (0, 1):
        found = torch.load(rank_file(tmp_path, rank), weights_only=True)
        assert_close(found["total"], (first + second).t())
        # The losses of both ranks are summed: 1 + 2.
        assert_close(found["total_gradient"], torch.full_like(first, 3.0))
        assert_close(found["mean"], mean.detach())
        assert_close(found["columns"], batch.detach().mean(dim=0))
        # Both ranks hold the global loss, so that the gradient of their sum is twice that of the loss.
        assert_close(found["mean_gradient"], 2 * gradient.chunk(2)[rank])


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 23, 24])
def test_shares_are_whole_in_order_and_nearly_equal(count: int, processes: int) -> None:
    bounds = [share_bounds(count, rank, processes) for rank in range(processes)]
    assert [position for start, stop in bounds for position in range(start, stop)] == list(range(count))
    lengths = [stop - start for start, stop in bounds]
    assert max(lengths) - min(lengths) <= 1


def test_one_process_has_the_whole() -> None:
    share = global_batch()
    assert gather_shares(share, len(share)) is share


COUNTS = (0, 1, 2, 5, 24)


def wholes(count: int) -> dict[str, Tensor]:
    """Labels, flags and matrices that require gradients."""
    values = torch.arange(count * 3, dtype=torch.float64).view(count, 3).requires_grad_()
    return {"labels": torch.arange(count), "flags": torch.arange(count) % 3 == 0, "values": values}


def write_gathered(rank: int, folder: Path) -> None:
    results = {}
    for count in COUNTS:
        start, stop = share_bounds(count, rank, 2)
        for name, whole in wholes(count).items():
            found = gather_shares(whole[start:stop], count)
            assert not found.requires_grad
            results[f"{name} {count}"] = found
    torch.save(results, rank_file(folder, rank))


def test_two_processes_gather_shares_of_unlike_size(tmp_path: Path) -> None:
    run_on_two_processes(write_gathered, tmp_path)
    for rank in (0, 1):
        found = torch.load(rank_file(tmp_path, rank), weights_only=True)
        for count in COUNTS:
            for name, whole in wholes(count).items():
                assert_close(found[f"{name} {count}"], whole.detach(), rtol=0, atol=0)
