from types import SimpleNamespace
from typing import Any

import pytest
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
