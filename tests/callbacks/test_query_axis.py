import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from lightning.pytorch.loggers import WandbLogger

from lightning_extract.callbacks.query_axis import QueryAxis
from tests.stand_ins import noise_attack, stand_in_trainer


class Dashboard(WandbLogger):
    """Weights & Biases' logger without a run behind it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    @property
    def experiment(self) -> Any:
        return SimpleNamespace(define_metric=lambda *args, **kwargs: self.calls.append((args, kwargs)))


@pytest.mark.parametrize(("first_process", "calls"), [(True, 1), (False, 0)])
def test_the_dashboard_draws_against_queries(first_process: bool, calls: int) -> None:
    dashboard = Dashboard()
    trainer = stand_in_trainer(loggers=[object(), dashboard], is_global_zero=first_process)
    QueryAxis().setup(trainer, noise_attack(), "fit")
    assert dashboard.calls == [(("*",), {"step_metric": "queries", "step_sync": True})] * calls


@pytest.mark.filterwarnings("ignore")
def test_an_offline_run_records_the_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    logger.log_metrics({"queries": 128.0})  # creates the run, with Lightning's own axis
    QueryAxis().setup(stand_in_trainer(loggers=[logger]), noise_attack(), "fit")
    wandb.finish()
    (record,) = tmp_path.rglob("*.wandb")
    # The definitions as they lie in the file: field 2 is the glob "*", field 4 the axis behind its length.
    definition = re.compile(rb'\x12\x01\*"[\x01-\x7f]([\w/]+)2')
    deadline = time.monotonic() + 30
    while len(axes := definition.findall(record.read_bytes())) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)  # W&B's own process writes the file
    assert axes == [b"trainer/global_step", b"queries"]
