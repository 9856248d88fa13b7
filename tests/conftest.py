import os
from pathlib import Path

import pytest
import torch

# One thread a process: the suite runs on all cores by pytest-xdist, and threads would only contend.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

PARITY = Path(__file__).parent / "parity"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs every test in a folder of its own, where relative run folders land."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-extract"])  # LightningCLI warns when pytest's arguments stand there
