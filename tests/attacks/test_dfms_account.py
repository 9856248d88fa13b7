"""Published DFMS runs at their full size: the real attack, stages and account, without the networks' work."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_extract.attacks import DFMS
from lightning_extract.attacks.bought_set import BoughtSet
from lightning_extract.attacks.settings import CloneTraining
from lightning_extract.callbacks.query_budget import QueryBudget
from lightning_extract.data.draws import Iteration
from tests.command_line import CONFIGS
from tests.config_files import parse_config, settings, the_parser
from tests.stand_ins import stand_in_trainer, threat_model
from tests.till import Till

VALIDATION = 20_000


class Shelf:
    """Stands for a buffer of bought images: counts them."""

    def __init__(self, size: int, **_: Any) -> None:
        self.size, self.count = size, 0

    def add(self, images: Tensor, answers: Tensor) -> None:
        self.count += len(images)

    def __len__(self) -> int:
        return self.count


def stages_of(config: str) -> Any:
    """The stages of a config, without its optimizers."""
    parsed = parse_config(CONFIGS / f"{config}.yaml").clone()
    parsed.fit.trainer = None
    with torch.device("meta"):
        return the_parser().instantiate(parsed).fit.model


@pytest.mark.parametrize(
    ("config", "proxy_images", "learnt", "alternating"),
    [
        ("dfms_c10_hard_40_classes", 20_000, 45_000, 8_000_000),
        ("dfms_c10_hard_10_classes", 5_000, 45_000, 4_000_000),
        pytest.param("dfms_c10_hard_resnet18", 50_000, 50_000, 7_500_000, marks=pytest.mark.slow),
    ],
)
def test_full_size_runs_spend_as_the_official_code(
    config: str, proxy_images: int, learnt: int, alternating: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = 2 * (learnt + VALIDATION) + alternating  # what the official code spends on answers that it uses
    attack: Any = DFMS(
        threat_model(budget), CloneTraining(network="lenet5_half", count=1, heldout_every=0), width=2, averages=()
    )
    model = stages_of(config)
    attack.stages.settings = model.stages.settings
    assert settings(CONFIGS / f"{config}.yaml")["batch_size"] == attack.batch_size == 64
    monkeypatch.setattr("lightning_extract.attacks.bought_set.ReplayBuffer", Shelf)
    monkeypatch.setattr(BoughtSet, "positions", lambda *_: pytest.fail("a training batch is not looked at"))
    attack.trainer = trainer = stand_in_trainer()
    attack.oracle = Till(attack.ledger, world_size=1)
    attack.pool = object()
    attack.transitions.begin = lambda stage: None
    attack.transitions.end = lambda stage: None
    attack.stages.trained_at = lambda iteration: []
    attack.generate_with_graph = attack.make_queries = lambda count: torch.empty(count, 1)
    attack.proxy_images = lambda start, count: torch.empty(count, 1)
    attack.observe = lambda answers: None
    trained: dict[str, int] = {}

    def train(*_: Any, **__: Any) -> None:
        trained[attack.stage] = trained.get(attack.stage, 0) + 1

    attack.clone_step = train
    attack.generator_step = train
    attack.discriminator_step = lambda generated: None
    monkeypatch.setattr("lightning_extract.attacks.dfms.auto_augment", lambda images, draws: images)
    monkeypatch.setattr("lightning_extract.attacks.dfms.random_crop_and_flip", lambda *_, **__: None)
    attack.stages.plan(proxy_images, attack.threat_model, attack.batch_size, "float32")
    for bought in attack.stages.sets.values():
        bought.positions = lambda epoch, batch: []
        bought.training.read = lambda positions, device: (None, None)

    callback, number = QueryBudget(), 0
    callback.on_train_start(trainer, attack)
    while not trainer.should_stop:
        attack.training_step(Iteration(number, number), 0)
        callback.on_train_batch_end(trainer, attack, None, None, 0)
        number += 1
    assert attack.ledger.by_phase == {
        "clone_init_validation": VALIDATION,
        "clone_init": learnt,
        "clone_reinit_validation": VALIDATION,
        "clone_reinit": learnt,
        "alternating": alternating - alternating % 64,
    }
    assert attack.oracle.answered == attack.ledger.spent
    batches = {45_000: {20_000: 157, 5_000: 40}.get(proxy_images), 50_000: 391}[learnt]
    assert batches is not None
    assert trained["clone_init"] == trained["clone_reinit"] == 200 * batches
    assert trained["gan"] == 200 * proxy_images // 64
    assert trained["diversity"] == 100 * proxy_images // 64
    assert trained["alternating"] == 2 * (alternating // 64)  # clone and generator
    for bought in attack.stages.sets.values():
        assert (len(bought.training), len(bought.validation)) == (learnt, VALIDATION)
