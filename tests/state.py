"""Comparison of two runs' checkpoints."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

# What may differ between a resumed and an uninterrupted run: seconds, and paths of the run folder.
UNEQUAL = ("RunSummary", "RunCheckpoint")


def final_state(run_dir: Path) -> dict[str, Any]:
    """Weights, optimizers, schedules, the attack's own state and its purchases after a run."""
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    kept = {name: checkpoint[name] for name in ("state_dict", "optimizer_states", "lr_schedulers", "attack")}
    del kept["attack"]["oracle"]["referenced"]  # free evaluation, which a resumed run really asks for again
    for folder in (run_dir / "bought").glob("*"):
        del kept["attack"][f"{folder.name}_set"]["checksum"]  # rounding on several processes changes all of it
        segments = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
        kept["attack"][f"{folder.name}_set"] |= {
            name: torch.cat([segment[name] for segment in segments]) for name in ("positions", "answers")
        }
    kept["callbacks"] = {name: state for name, state in checkpoint["callbacks"].items() if not name.startswith(UNEQUAL)}
    return kept


def assert_same_state(found: Any, expected: Any, where: str = "state", atol: float = 0.0) -> None:
    """Compares trees of dictionaries, lists, tensors and plain values; exactly unless a tolerance is given."""
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=0, atol=atol, msg=lambda text: f"{where}: {text}")
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same_state(found[key], value, f"{where}.{key}", atol)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for position, value in enumerate(expected):
            assert_same_state(found[position], value, f"{where}[{position}]", atol)
    else:
        assert found == expected, where
