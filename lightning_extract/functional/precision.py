"""Full float32, whatever the run's precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
