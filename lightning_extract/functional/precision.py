"""What mixed precision must not touch: full float32, and the first momenta."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.optim import Optimizer


@contextmanager
def full_float32(device_type: str) -> Iterator[None]:
    """Computes without autocast and without TensorFloat-32, which cuDNN uses for convolutions unless told not to.

    A zeroth-order step of 1e-3 along a direction of 3,072 pixels changes each by 2e-5; TF32 rounds at 1e-3.
    """
    cpu, backend = torch.backends.mkldnn, torch.backends
    backends = backend.cuda.matmul, backend.cudnn.conv, cpu.matmul, cpu.conv  # type: ignore[attr-defined]
    before = [part.fp32_precision for part in backends]
    for part in backends:
        part.fp32_precision = "ieee"
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        for part, precision in zip(backends, before, strict=True):
            part.fp32_precision = precision


def begin_momenta(optimizer: Optimizer) -> None:
    """Gives parameters of fused SGD that have a gradient but no momentum yet one of zero.

    The scaler lets an optimizer skip a step whose gradients overflow, as the first ones often do. When fused SGD skips
    its very first, torch leaves the momenta in memory that nobody has written, and the next step adds them up.
    """
    for group in optimizer.param_groups:
        if group.get("fused") and group.get("momentum"):
            for parameter in group["params"]:
                if parameter.grad is not None and optimizer.state[parameter].get("momentum_buffer") is None:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter.grad)
