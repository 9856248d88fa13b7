"""DFMS against a slow restatement of its stages, in float64."""

import math
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_extract.attacks import DFMS, threat_model
from lightning_extract.attacks.stage_transitions import StageTransitions
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.data.augmentation import random_crop_and_flip
from lightning_extract.data.autoaugment import auto_augment
from lightning_extract.data.draws import IterationDraws, mix_seed
from lightning_extract.networks import CLASSIFIERS
from tests.float64_fit import load_float64_victim, use_float64
from tests.float64_start import TINY, assert_same_weights, tiny_classifier, victim_logits
from tests.miniature import config_of, fit

LATENT_DIM, BATCH, CLASSES = 16, 64, 10
PURCHASES = [("validation", 0, 40), ("proxy", 0, 18), ("generated", 0, 54)]
EPOCHS, BATCHES, PROXY_BATCH, GENERATED_BATCH = 2, 4, 5, 15
FIRST = {"gan": 0, "clone_init": 3, "diversity": 14, "clone_reinit": 17, "alternating": 28}
LENGTH = {"gan": 3, "clone_init": 11, "diversity": 3, "clone_reinit": 11, "alternating": 12}
DIVERSITY = {"gan": 0.0, "diversity": 10.0, "alternating": 500.0}


class SlowStage:
    """One stage on copies of the attack's networks: no frozen parameters, no fused optimizers, no ring, no oracle."""

    def __init__(self, attack: Any, stage: str, hard: bool) -> None:
        self.attack, self.stage, self.hard = attack, stage, hard
        self.generator, self.discriminator = deepcopy(attack.generator), deepcopy(attack.discriminator)
        self.clone = deepcopy(attack.clones.members[0])
        rate = 0.01 if stage == "alternating" else 0.1
        self.of_clone = torch.optim.SGD(self.clone.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
        self.of_generator = torch.optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.of_discriminator = torch.optim.Adam(self.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.images: list[Tensor] = []
        self.answers: list[Tensor] = []

    def run(self) -> None:
        for step in range(LENGTH[self.stage]):
            number = FIRST[self.stage] + step
            self.draws = IterationDraws(mix_seed(0, number), 0, 1, torch.device("cpu"))
            if self.stage in ("clone_init", "clone_reinit"):
                self.clone_iteration(step)
            elif self.stage == "alternating":
                self.alternating_iteration(step, number)
            else:
                fake = self.generator.train()(self.draws.normal(BATCH, LATENT_DIM).double())
                self.train_discriminator(fake.detach(), number)
                self.train_generator(fake)

    def clone_iteration(self, step: int) -> None:
        if step < len(PURCHASES):
            source, start, count = PURCHASES[step]
            if source == "proxy":
                images = self.attack.pool.batch(start, count, self.draws).double()
            else:
                with torch.no_grad():
                    images = self.generator.eval()(self.draws.normal(count, LATENT_DIM).double())
            if source != "validation":
                self.images.append(images.float())
                self.answers.append(self.answer(images))
            return
        epoch, batch = divmod(step - len(PURCHASES), BATCHES)
        stage = {"clone_init": 1, "clone_reinit": 3}[self.stage]
        random = torch.Generator().manual_seed(mix_seed(mix_seed(0, -10 - stage), epoch))
        proxy, generated = torch.randperm(18, generator=random), torch.randperm(54, generator=random) + 18
        chosen = [
            *proxy[batch * PROXY_BATCH : (batch + 1) * PROXY_BATCH].tolist(),
            *generated[batch * GENERATED_BATCH : (batch + 1) * GENERATED_BATCH].tolist(),
        ]
        progress = (step - len(PURCHASES)) / (EPOCHS * BATCHES)
        self.of_clone.param_groups[0]["lr"] = 0.1 * (1 + math.cos(math.pi * progress)) / 2
        self.train_clone(
            random_crop_and_flip(torch.cat(self.images)[chosen], self.draws, padding=4, fill=0.0).double(),
            torch.cat(self.answers)[chosen],
        )

    def alternating_iteration(self, step: int, number: int) -> None:
        fake = self.generator.train()(self.draws.normal(BATCH, LATENT_DIM).double())
        queries = auto_augment(fake.detach(), self.draws).double()
        progress = step / LENGTH["alternating"]
        self.of_clone.param_groups[0]["lr"] = 0.01 * min(1, progress / 0.025) * (1 + math.cos(math.pi * progress)) / 2
        self.train_clone(queries, self.answer(queries))
        self.train_generator(fake)
        self.train_discriminator(fake.detach(), number)

    def answer(self, images: Tensor) -> Tensor:
        logits = victim_logits(self.attack, images)
        return logits.argmax(1) if self.hard else logits.softmax(1).double()

    def train_clone(self, images: Tensor, answers: Tensor) -> None:
        logits = self.clone.train()(images)
        if self.hard:
            loss = F.cross_entropy(logits, answers)
        else:
            loss = F.kl_div(logits.log_softmax(1), answers, reduction="batchmean")
        self.of_clone.zero_grad()
        loss.backward()
        self.of_clone.step()

    def train_generator(self, fake: Tensor) -> None:
        loss = F.binary_cross_entropy(self.discriminator(fake), torch.ones(BATCH, dtype=torch.float64))
        share = self.clone.eval()(fake).softmax(1).mean(0)
        loss = loss + DIVERSITY[self.stage] * (share * (share + 1e-5).log()).sum()
        self.of_generator.zero_grad()
        loss.backward()
        self.of_generator.step()

    def train_discriminator(self, fake: Tensor, number: int) -> None:
        real = self.attack.pool.batch(number * BATCH, BATCH, self.draws)
        real = random_crop_and_flip(real, self.draws, padding=4, fill=-1.0).double()
        self.of_discriminator.zero_grad()
        F.binary_cross_entropy(self.discriminator(real), torch.ones(BATCH, dtype=torch.float64)).backward()
        F.binary_cross_entropy(self.discriminator(fake), torch.zeros(BATCH, dtype=torch.float64)).backward()
        self.of_discriminator.step()


@pytest.mark.parametrize("access", ["soft", "hard"])
def test_every_stage_equals_its_slow_restatement(access: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLASSIFIERS, "tiny", tiny_classifier)
    monkeypatch.setattr(threat_model, "load_victim", load_float64_victim)
    monkeypatch.setattr(QueryAxis, "setup", use_float64)
    slow: dict[str, SlowStage] = {}
    compared: list[str] = []
    begin, end = StageTransitions.begin, StageTransitions.end

    def remember(self: StageTransitions, stage: Any) -> None:
        begin(self, stage)
        slow[stage] = SlowStage(self.attack, stage, access == "hard")

    def compare(self: StageTransitions, stage: Any) -> None:
        start = deepcopy((slow[stage].generator, slow[stage].discriminator, slow[stage].clone))
        slow[stage].run()
        attack: Any = self.attack
        # The answers and the crops are float32.
        for name, mine, other, before in (
            ("generator", attack.generator, slow[stage].generator, start[0]),
            ("discriminator", attack.discriminator, slow[stage].discriminator, start[1]),
            ("clones", attack.clones.members[0], slow[stage].clone, start[2]),
        ):
            if self.stages.settings[stage].trains(name):
                assert_same_weights(mine, other, before, atol=1e-6)
            else:
                for key, value in before.state_dict().items():
                    assert torch.equal(mine.state_dict()[key], value), f"{stage} changed {name}.{key}"
        compared.append(stage)
        end(self, stage)

    monkeypatch.setattr(StageTransitions, "begin", remember)
    monkeypatch.setattr(StageTransitions, "end", compare)
    fit(config_of(DFMS), "run", *TINY, "--model.threat_model.access", access)
    assert compared == list(FIRST)


def test_the_generator_step_sees_the_clone_after_its_update_in_eval_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool]] = []
    clone_step, generator_step = DFMS.clone_step, DFMS.generator_step
    versions: list[Tensor] = []

    def remember_clone(self: DFMS, images: Tensor, answers: Tensor) -> None:
        clone_step(self, images, answers)
        versions.append(nn.utils.parameters_to_vector(self.clones.parameters()).detach().clone())

    def watch(self: DFMS, generated: Tensor) -> None:
        before = {name: value.clone() for name, value in self.clones.named_buffers()}
        generator_step(self, generated)
        if self.stage == "alternating":
            updated = torch.equal(nn.utils.parameters_to_vector(self.clones.parameters()), versions[-1])
            seen.append((updated, self.clones.training))
        for name, value in self.clones.named_buffers():
            assert torch.equal(value, before[name]), name

    monkeypatch.setattr(DFMS, "clone_step", remember_clone)
    monkeypatch.setattr(DFMS, "generator_step", watch)
    fit(config_of(DFMS), "run", "--model.clone_training.network", "cnn_2_1")
    assert seen == [(True, False)] * LENGTH["alternating"]
