"""Sums and means over the processes of a distributed run, with gradients."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def process_count() -> int:
    """Number of processes that share the global batch; 1 outside a distributed run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _AllReduceSum(torch.autograd.Function):
    # torch.distributed.nn.functional.all_reduce does the same, but is deprecated for a private module.

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return all_reduce_sum(gradient)


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum of the processes' tensors, the same on every process; the tensor itself when there is one process.

    The gradient is that of the sum of all processes' losses. Averaging parameter gradients over processes,
    as DistributedDataParallel does, turns it into the gradient of the mean loss. Every process must call
    this, and run its backward pass, the same number of times.

    Args:
        tensor: Of one shape on all processes.

    Shape:
        Any shape to the same.
    """
    if process_count() == 1:
        return tensor
    total: Tensor = _AllReduceSum.apply(tensor)
    return total


def global_mean(values: Tensor, dim: int = 0) -> Tensor:
    """Mean over a dimension of the global batch, of which every process holds an equal share.

    Args:
        values: This process's share.
        dim: The batch dimension.

    Shape:
        Any shape to the same without ``dim``.

    Example:
        >>> global_mean(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
        tensor([2., 4.])
    """
    return all_reduce_sum(values.mean(dim=dim)) / process_count()


def share_bounds(count: int, rank: int, processes: int) -> tuple[int, int]:
    """Where a process's share of ``count`` samples starts and ends; shares differ by one sample at most."""
    return count * rank // processes, count * (rank + 1) // processes


def gather_shares(share: Tensor, count: int) -> Tensor:
    """The whole of ``count`` samples on every process, from shares cut by :func:`share_bounds`; without gradients.

    Shape:
        ``(n, ...)`` to ``(count, ...)``.
    """
    processes = process_count()
    if processes == 1:
        return share
    most = -(-count // processes)
    padded = share.new_zeros(most, *share.shape[1:])
    padded[: len(share)] = share.detach()
    parts = [torch.empty_like(padded) for _ in range(processes)]
    dist.all_gather(parts, padded)
    lengths = [stop - start for start, stop in (share_bounds(count, rank, processes) for rank in range(processes))]
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
