"""Inputs and outputs of the published implementations' functions."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PARITY = Path(__file__).parent / "parity"


def parity_arrays(name: str) -> dict[str, Tensor]:
    """The numbers of ``tests/parity/<name>.npz``; names that lie beside them are left out."""
    with np.load(PARITY / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files if arrays[key].dtype.kind != "U"}
