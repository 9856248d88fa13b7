"""DisGUIDE against a slow restatement of the paper's algorithm 1, in float64."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_extract.attacks import DisGUIDE, threat_model
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.data.draws import Iteration, IterationDraws, mix_seed
from tests.float64_fit import load_float64_victim, use_float64
from tests.miniature import config_of, fit

ITERATIONS, BATCH, LATENT_DIM, WEIGHT = 12, 64, 16, 0.2


def slow_disguide(generator: nn.Module, clones: nn.ModuleList, victim: nn.Module, hard: bool) -> None:
    """Trains the networks in place: no frozen parameters, no fused optimizers, no ring, no oracle."""
    of_generator = torch.optim.Adam(generator.parameters(), lr=1e-4)
    of_clones = torch.optim.SGD(clones.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
    bought: list[tuple[Tensor, Tensor]] = []

    def learn(images: Tensor, answers: Tensor) -> None:
        of_clones.zero_grad()
        for clone in clones:
            logits = clone(images)
            loss = F.nll_loss(F.log_softmax(logits, 1), answers) if hard else (logits - answers).abs().mean()
            loss.backward()
        of_clones.step()

    for number in range(ITERATIONS):
        draws = IterationDraws(mix_seed(0, number), 0, 1, torch.device("cpu"))
        for optimizer in (of_generator, of_clones):
            rate = 0.03 if optimizer is of_clones else 1e-4
            drops = sum(number * BATCH >= share * ITERATIONS * BATCH for share in (0.4, 0.8))
            optimizer.param_groups[0]["lr"] = rate * 0.3**drops

        generator.train(), clones.eval()
        images = generator(draws.normal(BATCH, LATENT_DIM).double())
        draws.python.randrange(1)
        p = [clone(images).softmax(1) for clone in clones]
        mean = (p[0] + p[1]) / 2
        deviation = ((p[0] - mean) ** 2 + (p[1] - mean) ** 2).sqrt()  # n - 1 = 1
        w = sum((q + 1e-6).sum(0) for q in p) / (2 * BATCH)
        loss = -deviation.sum() / (BATCH * 10) + WEIGHT * (w * w.log()).sum()
        of_generator.zero_grad()
        loss.backward()
        of_generator.step()

        generator.eval(), clones.train()
        with torch.no_grad():
            images = generator(draws.normal(BATCH, LATENT_DIM).double())
            draws.python.randrange(1)
            victim_logits = victim(((images.float() + 1) / 2 - 0.1307) / 0.3081)
        log_p = victim_logits.float().log_softmax(1)
        answers = log_p.argmax(1) if hard else (log_p - log_p.mean(1, keepdim=True)).double()
        learn(images, answers)
        bought.append((images.float(), answers))
        pool_images, pool_answers = (torch.cat(part) for part in zip(*bought, strict=True))
        for _ in range(3):
            chosen = draws.python.sample(range(len(pool_images)), BATCH)
            learn(pool_images[chosen].double(), pool_answers[chosen])


@pytest.mark.parametrize("access", ["soft", "hard"])
def test_disguide_equals_the_slow_restatement(access: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threat_model, "load_victim", load_float64_victim)
    monkeypatch.setattr(QueryAxis, "setup", use_float64)
    start: dict[str, nn.Module] = {}
    training_step = DisGUIDE.training_step

    def remember_start(self: DisGUIDE, iteration: Iteration, batch_idx: int) -> None:
        if iteration.number == 0:
            start.update(generator=deepcopy(self.generator), clones=deepcopy(self.clones.members))
        training_step(self, iteration, batch_idx)

    monkeypatch.setattr(DisGUIDE, "training_step", remember_start)
    budget = ["--model.threat_model.query_budget", str(ITERATIONS * BATCH), "--model.replay.size", "1000"]
    settings = ["--model.clone_training.heldout_every", "0", "--model.threat_model.access", access]
    attack = fit(config_of(DisGUIDE), "run", *budget, *settings).model
    assert attack.ledger.spent == ITERATIONS * BATCH

    generator, clones = start["generator"], start["clones"]
    before = {name: value.clone() for name, value in clones.state_dict().items()}
    slow_disguide(generator, clones, attack.oracle._network, access == "hard")
    for name, value in clones.state_dict().items():
        moved = (value - before[name]).abs().max()
        assert (attack.clones.members.state_dict()[name] - value).abs().max() < 1e-4 * moved, name
    for name, value in generator.state_dict().items():
        torch.testing.assert_close(attack.generator.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)
