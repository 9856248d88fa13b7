"""DFME: against a slow restatement of its algorithm, and what is special about it."""

import inspect
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_extract.attacks import DFME
from lightning_extract.attacks.settings import CloneTraining, ForwardDifferences
from lightning_extract.data.draws import IterationDraws, mix_seed
from lightning_extract.errors import InputError
from lightning_extract.networks import CloneEnsemble, DFMEGenerator
from lightning_extract.oracle import VictimOracle
from tests.float64_start import assert_same_weights, fit_in_float64, victim_logits
from tests.miniature import config_of, fit
from tests.stand_ins import small_attack
from tests.till import run_out, without_work

ITERATIONS, BATCH, LATENT_DIM, DIRECTIONS, STEPS, PIXELS = 3, 32, 16, 2, 2, 1024
COST = BATCH * (DIRECTIONS + 1 + STEPS)
EPSILON = 1e-3


def slow_dfme(generator: nn.Module, clone: nn.Module, attack: DFME, loss: str, exact: bool) -> None:
    """Trains both in place: one sample's differences at a time, no oracle, no fused or frozen anything."""
    of_generator = torch.optim.Adam(generator.parameters(), lr=1e-4)
    of_clone = torch.optim.SGD(clone.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def ask(points: Tensor) -> Tensor:
        return victim_logits(attack, points.detach().tanh()).softmax(dim=1)

    def distances(logits: Tensor, answers: Tensor) -> Tensor:
        log_p = answers.log()  # of float32 answers, whose rounding the differences show
        if loss == "l1":
            return (logits - (log_p - log_p.mean(dim=1, keepdim=True))).abs().sum(dim=1) / 10
        p, q = answers.double(), logits.exp() / logits.exp().sum(dim=1, keepdim=True)
        return (p * (log_p.double() - q.log())).sum(dim=1)

    for number in range(ITERATIONS):
        draws = IterationDraws(mix_seed(0, number), 0, 1, torch.device("cpu"))
        for optimizer, rate in ((of_generator, 1e-4), (of_clone, 0.1)):
            drops = sum(number / ITERATIONS >= share for share in (0.1, 0.3, 0.5))
            optimizer.param_groups[0]["lr"] = rate * 0.3**drops

        generator.train(), clone.eval()
        a = generator.pre_activation(draws.normal(BATCH, LATENT_DIM).double())  # type: ignore[operator]
        answers, logits = ask(a), clone(a.tanh())
        base = distances(logits, answers)
        gradient = torch.zeros_like(a)
        for _ in range(DIRECTIONS):
            u = draws.normal(BATCH, 1, 32, 32)
            u = u / u.flatten(1).norm(dim=1)[:, None, None, None]
            moved = a.detach() + EPSILON * u
            with torch.no_grad():
                changes = distances(logits if exact else clone(moved.tanh()), ask(moved)) - base
            for i in range(BATCH):
                gradient[i] += PIXELS / (DIRECTIONS * EPSILON) * changes[i] * u[i].double() / BATCH
        of_generator.zero_grad()
        (share,) = torch.autograd.grad(base.sum(), a, retain_graph=True)
        a.backward(-(gradient.detach() + (share / BATCH if exact else 0)))
        of_generator.step()

        clone.train()  # and the generator stays so
        for _ in range(STEPS):
            with torch.no_grad():
                a = generator.pre_activation(draws.normal(BATCH, LATENT_DIM).double())  # type: ignore[operator]
            of_clone.zero_grad()
            distances(clone(a.tanh()), ask(a).double()).mean().backward()
            of_clone.step()


@pytest.mark.parametrize("loss", ["l1", "kl"])
@pytest.mark.parametrize("clone_gradient", ["estimated", "exact"])
def test_dfme_equals_the_slow_restatement(loss: str, clone_gradient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ["--model.clone_training.soft_loss", loss, "--model.clone_gradient", clone_gradient]
    budget = ["--model.threat_model.query_budget", str(ITERATIONS * COST), "--model.clone_training.heldout_every", "0"]
    attack, start = fit_in_float64(config_of(DFME), monkeypatch, *settings, *budget)
    assert attack.ledger.by_phase == {"generator": ITERATIONS * 96, "clone": ITERATIONS * 64}
    generator, clones = start["generator"], start["clones"]
    assert isinstance(clones, nn.ModuleList)
    generator_before, clones_before = deepcopy(generator), deepcopy(clones)
    slow_dfme(generator, clones[0], attack, loss, clone_gradient == "exact")
    assert_same_weights(attack.clones.members, clones, clones_before)
    assert_same_weights(attack.generator, generator, generator_before)


def test_modes_of_both_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, bool]] = []
    phase = "evaluation"
    originals = {name: getattr(DFME, name) for name in ("generator_phase", "clone_phase")}

    def watched(name: str) -> Any:
        def run(self: DFME, argument: int) -> None:
            nonlocal phase
            phase = name
            originals[name](self, argument)
            phase = "evaluation"

        return run

    def note(network: type[nn.Module], method: str) -> None:
        original = getattr(network, method)

        def run(self: nn.Module, samples: Tensor) -> Tensor:
            seen.append((phase, network.__name__, self.training))
            assert all(module.training is self.training for module in self.modules())
            return original(self, samples)  # type: ignore[no-any-return]

        monkeypatch.setattr(network, method, run)

    for name in originals:
        monkeypatch.setattr(DFME, name, watched(name))
    note(DFMEGenerator, "pre_activation")
    note(CloneEnsemble, "forward")
    attack = fit(config_of(DFME), "run", "--model.threat_model.query_budget", "320").model
    generate, imitate = ("clone_phase", "DFMEGenerator", True), ("clone_phase", "CloneEnsemble", True)
    probe = ("generator_phase", "CloneEnsemble", False)
    iteration = [("generator_phase", "DFMEGenerator", True), probe, probe, probe, generate, imitate, generate, imitate]
    assert [entry for entry in seen if entry[0] != "evaluation"] == iteration * 2
    evaluated = {("evaluation", "CloneEnsemble", False), ("evaluation", "DFMEGenerator", False)}  # the sample sheet's
    assert set(seen) - set(iteration) == evaluated
    assert not attack.oracle._network.training


def test_the_account_of_both_phases() -> None:
    attack = fit(config_of(DFME)).model
    assert attack.ledger.by_phase == {"generator": 6 * 32 * 3, "clone": 6 * 32 * 2}
    assert attack.oracle.answered == 960


def test_defaults_are_the_published_ones() -> None:
    defaults = {name: parameter.default for name, parameter in inspect.signature(DFME).parameters.items()}
    clones, generator = defaults["clone_training"], defaults["generator_training"]
    assert (clones.network, clones.count, clones.steps, clones.soft_loss) == ("resnet18_8x", 1, 5, "l1")
    assert (generator.latent_dim, generator.width, generator.steps) == (256, 64, 1)
    assert (defaults["differences"], defaults["clone_gradient"]) == (ForwardDifferences(1, 1e-3), "estimated")
    assert (defaults["replay"].batches, defaults["batch_size"]) == (0, 256)
    assert (defaults["schedule"].milestones, defaults["schedule"].factor) == ((0.1, 0.3, 0.5), 0.3)
    parameters = [nn.Parameter(torch.zeros(1))]
    sgd, adam = (defaults[f"{network}_optimizer"](parameters).param_groups[0] for network in ("clone", "generator"))
    assert (sgd["lr"], sgd["momentum"], sgd["weight_decay"]) == (0.1, 0.9, 5e-4)
    assert (adam["lr"], adam["betas"], adam["weight_decay"]) == (1e-4, (0.9, 0.999), 0)


def test_hard_access_is_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match=r"access hard does not give.*set access to soft, or use DualStudents or Dis"):
        small_attack(DFME, access="hard")


def test_a_loss_that_is_no_distance_is_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match="maximises a distance between clone and victim; set soft_loss to l1 or kl"):
        small_attack(DFME, clone_training=CloneTraining(network="lenet5_half", count=1, soft_loss="cross_entropy"))


def test_probing_is_done_in_float32_under_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    clones_saw: list[tuple[Tensor, torch.dtype]] = []
    victim_saw: list[Tensor] = []
    probing = False
    generator_loss, forward, query = DFME.generator_loss, CloneEnsemble.forward, VictimOracle.query

    def watched_loss(self: DFME, pre_activation: Tensor) -> Tensor:
        nonlocal probing
        assert torch.is_autocast_enabled("cpu"), "mixed precision must be on around it"
        probing = True
        loss = generator_loss(self, pre_activation)
        probing = False
        return loss

    def watched_forward(self: CloneEnsemble, samples: Tensor) -> Tensor:
        logits = forward(self, samples)
        if probing:
            clones_saw.append((samples, logits.dtype))
        return logits

    def watched_query(self: VictimOracle, samples: Tensor, phase: str) -> Tensor:
        if probing:
            victim_saw.append(samples)
        return query(self, samples, phase)

    monkeypatch.setattr(DFME, "generator_loss", watched_loss)
    monkeypatch.setattr(CloneEnsemble, "forward", watched_forward)
    monkeypatch.setattr(VictimOracle, "query", watched_query)
    small = ["--model.threat_model.query_budget", "160", "--model.differences.epsilon", "0.01"]
    fit(config_of(DFME), "run", "--trainer.precision", "bf16-mixed", *small)
    assert len(clones_saw) == len(victim_saw) == 3
    for (clones, logits), victim in zip(clones_saw, victim_saw, strict=True):
        assert clones.dtype == victim.dtype == logits == torch.float32
        assert torch.equal(clones, victim)
    base, *moved = (samples.double().atanh() for samples in victim_saw)
    for points in moved:  # every pixel's small share of the step is there
        torch.testing.assert_close(
            (points - base).flatten(1).norm(dim=1), torch.full((32,), 0.01).double(), rtol=0.01, atol=0
        )


@pytest.mark.parametrize(
    ("budget", "remainder", "before", "iterations", "generator", "clone"),
    [
        (20_000_000, "stop", 0, 11_160, 11_160 * 512, 11_160 * 1280),  # 1,280 left
        (20_000_000, "fill", 11_000, 161, 161 * 512, 160 * 1280 + 768),  # the last iterations are enough
        (2_000_000, "stop", 0, 1_116, 1_116 * 512, 1_116 * 1280),  # 128 left
        (1000, "fill", 0, 1, 512, 488),
        (1, "fill", 0, 1, 0, 1),
    ],
)
def test_published_budgets(
    budget: int, remainder: str, before: int, iterations: int, generator: int, clone: int
) -> None:
    attack = small_attack(DFME, budget, remainder=remainder)
    assert attack.queries_per_iteration == 1792
    attack.ledger.charge(before * 1792, "earlier")
    assert run_out(attack, without_work(attack)) == iterations
    found = attack.ledger.by_phase
    assert (found.get("generator", 0), found["clone"]) == (generator, clone)
    assert attack.oracle.answered == generator + clone
    assert attack.ledger.remaining == (0 if remainder == "fill" else budget % 1792)


@pytest.mark.parametrize("left", range(1, 200, 7))
def test_any_remainder_is_spent_by_two_processes(left: int) -> None:
    attack = small_attack(DFME, 2 * left, batch_size=64, remainder="fill", differences=ForwardDifferences(3))
    run_out(attack, without_work(attack, world_size=2))
    assert attack.ledger.remaining == 0


def test_several_generator_steps_are_paid() -> None:
    steps = inspect.signature(DFME).parameters["generator_training"].default
    attack = small_attack(DFME, 3000, batch_size=100, generator_training=type(steps)(8, 2, steps=2))
    assert attack.queries_per_iteration == 100 * (2 * 2 + 5)
    assert run_out(attack, without_work(attack)) == 3
    assert attack.ledger.by_phase == {"generator": 1200, "clone": 1500}
