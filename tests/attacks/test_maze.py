"""MAZE: against a slow restatement of its algorithm, and what is special about it."""

import inspect
import math
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_extract.attacks import MAZE
from lightning_extract.attacks.settings import ForwardDifferences
from lightning_extract.data.draws import IterationDraws, mix_seed
from lightning_extract.data.replay import ReplayBuffer
from lightning_extract.errors import InputError
from lightning_extract.networks import CloneEnsemble, DFMEGenerator
from lightning_extract.oracle import VictimOracle
from tests.float64_start import assert_same_weights, fit_in_float64, victim_logits
from tests.miniature import config_of, fit
from tests.stand_ins import small_attack
from tests.till import run_out, without_work

ITERATIONS, BATCH, LATENT_DIM, DIRECTIONS, STEPS, REPLAYED, PIXELS = 3, 32, 16, 3, 2, 2, 1024
COST = BATCH * (DIRECTIONS + 1 + STEPS - 1)
MU = 0.5  # the default 1e-3 would divide the rounding of 64 bits until it shows in 32, the answers' precision


def slow_maze(generator: nn.Module, clone: nn.Module, attack: MAZE, rate_of_generator: float) -> None:
    """Trains both in place: one sample's differences at a time, no oracle, no ring, no fused or frozen anything."""
    of_generator = torch.optim.SGD(generator.parameters(), lr=rate_of_generator, momentum=0.9, weight_decay=5e-4)
    of_clone = torch.optim.SGD(clone.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    replay: list[tuple[Tensor, Tensor]] = []

    def ask(images: Tensor) -> Tensor:
        return victim_logits(attack, images.detach()).softmax(dim=1)

    def divergences(images: Tensor, p: Tensor) -> Tensor:
        logits: Tensor = clone(images)
        log_q = logits - logits.logsumexp(dim=1, keepdim=True)
        return (p.double() * (p.log().double() - log_q)).sum(dim=1)

    def learn(images: Tensor, answers: Tensor) -> None:
        of_clone.zero_grad()
        divergences(images.detach(), answers.double()).mean().backward()
        of_clone.step()

    generator.train(), clone.train()  # throughout
    for number in range(ITERATIONS):
        draws = IterationDraws(mix_seed(0, number), 0, 1, torch.device("cpu"))
        for optimizer, rate in ((of_generator, rate_of_generator), (of_clone, 0.1)):
            optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * number / ITERATIONS)) / 2

        a = generator.pre_activation(draws.normal(BATCH, LATENT_DIM).double())  # type: ignore[operator]
        x = a.detach().tanh()
        y = ask(x)
        gradient = torch.zeros_like(x)
        with torch.no_grad():
            base = divergences(x, y)
            for _ in range(DIRECTIONS):
                u = draws.normal(BATCH, 1, 32, 32)
                u = u / u.flatten(1).norm(dim=1)[:, None, None, None]
                moved = (a.detach() + MU * u).tanh()
                changes = base - divergences(moved, ask(moved))
                for i in range(BATCH):
                    gradient[i] += PIXELS / DIRECTIONS * changes[i] / MU * u[i].double() / BATCH
        of_generator.zero_grad()
        a.backward(gradient)
        of_generator.step()

        for step in range(STEPS):
            if step > 0:  # the first batch is the generator's, with the answers that it has
                with torch.no_grad():
                    x = generator(draws.normal(BATCH, LATENT_DIM).double())
                y = ask(x)
            learn(x, y)
        replay.append((x.float(), y))
        pool_images, pool_answers = (torch.cat(part) for part in zip(*replay, strict=True))
        for _ in range(REPLAYED):
            chosen = draws.python.sample(range(len(pool_images)), BATCH)
            learn(pool_images[chosen].double(), pool_answers[chosen])


@pytest.mark.parametrize("rate_of_generator", [1e-4, 0.01])  # the default hardly moves it in three steps
def test_maze_equals_the_slow_restatement(rate_of_generator: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rate = ["--model.generator_optimizer.init_args.lr", str(rate_of_generator)]
    budget = ["--model.threat_model.query_budget", str(ITERATIONS * COST), "--model.clone_training.heldout_every", "0",
              "--model.differences.epsilon", str(MU)]  # fmt: skip
    optimizer = ["--model.generator_optimizer", "SGD", "--model.generator_optimizer.init_args.momentum", "0.9",
                 "--model.generator_optimizer.init_args.weight_decay", "5e-4"]  # fmt: skip
    attack, start = fit_in_float64(config_of(MAZE), monkeypatch, *budget, *optimizer, *rate)
    assert attack.ledger.by_phase == {"generator": ITERATIONS * 128, "clone": ITERATIONS * 32}
    generator, clones = start["generator"], start["clones"]
    assert isinstance(clones, nn.ModuleList)
    generator_before, clones_before = deepcopy(generator), deepcopy(clones)
    slow_maze(generator, clones[0], attack, rate_of_generator)
    assert_same_weights(attack.clones.members, clones, clones_before)
    assert_same_weights(attack.generator, generator, generator_before)


def test_all_that_learns_stays_in_train_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []
    batches: list[int] = []
    training = False
    training_step = MAZE.training_step

    def note(network: type[nn.Module], method: str) -> None:
        original = getattr(network, method)

        def run(self: nn.Module, samples: Tensor) -> Tensor:
            if training:
                seen.append((network.__name__, all(module.training for module in self.modules())))
            return original(self, samples)  # type: ignore[no-any-return]

        monkeypatch.setattr(network, method, run)

    def watched_step(self: MAZE, *arguments: Any) -> None:
        nonlocal training
        training = True
        training_step(self, *arguments)
        training = False
        counts = [int(value) for name, value in self.clones.named_buffers() if name.endswith("num_batches_tracked")]
        assert len(set(counts)) == 1
        batches.append(counts[0])

    monkeypatch.setattr(MAZE, "training_step", watched_step)
    note(DFMEGenerator, "pre_activation")
    note(CloneEnsemble, "forward")
    sizes = ["--model.clone_training.network", "cnn_2_1", "--model.threat_model.query_budget", "320"]
    attack = fit(config_of(MAZE), "run", *sizes).model
    # Four batches that probe, two bought ones and two replayed ones.
    names = ["DFMEGenerator", *["CloneEnsemble"] * 5, "DFMEGenerator", *["CloneEnsemble"] * 3]
    assert seen == [(name, True) for name in names] * 2
    assert batches == [8, 16], "every perturbed batch moves the running statistics"
    assert not attack.oracle._network.training


def test_no_generated_batch_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Tensor, Tensor]] = []
    learnt: list[tuple[Tensor, Tensor]] = []
    stored: list[tuple[Tensor, Tensor]] = []
    query, imitate, add = VictimOracle.query, MAZE.imitate, ReplayBuffer.add

    def watched_query(self: VictimOracle, samples: Tensor, phase: str) -> Tensor:
        answers = query(self, samples, phase)
        asked.append((phase, samples.clone(), answers.clone()))
        return answers

    def watched_imitate(self: MAZE, samples: Tensor, answers: Tensor) -> None:
        learnt.append((samples.clone(), answers.clone()))
        imitate(self, samples, answers)

    def watched_add(self: ReplayBuffer, images: Tensor, answers: Tensor) -> None:
        stored.append((images.clone(), answers.clone()))
        add(self, images, answers)

    monkeypatch.setattr(VictimOracle, "query", watched_query)
    monkeypatch.setattr(MAZE, "imitate", watched_imitate)
    monkeypatch.setattr(ReplayBuffer, "add", watched_add)
    steps = ["--model.clone_training.steps", "3", "--model.threat_model.query_budget", "576"]
    attack = fit(config_of(MAZE), "run", *steps).model
    assert [phase for phase, _, _ in asked] == (["generator"] * 4 + ["clone"] * 2) * 3
    samples = torch.cat([images for _, images, _ in asked]).flatten(1)
    assert len(samples) == len(samples.unique(dim=0)) == attack.ledger.spent == 576

    bought = [learnt[5 * iteration : 5 * iteration + 3] for iteration in range(3)]  # two more are replayed
    for iteration, batches in enumerate(bought):
        first, *others = asked[6 * iteration], *asked[6 * iteration + 4 : 6 * iteration + 6]
        for (found, answers), (_, images, theirs) in zip(batches, (first, *others), strict=True):
            assert torch.equal(found, images)
            assert torch.equal(answers, theirs)
        assert torch.equal(stored[iteration][0], batches[-1][0])
        assert torch.equal(stored[iteration][1], batches[-1][1])
    assert len(stored) == 3
    assert len(attack.replay_buffer) == 96


def test_rates_fall_as_half_a_cosine() -> None:
    schedule = inspect.signature(MAZE).parameters["schedule"].default
    expected = {0.0: 1.0, 0.25: 0.853553, 0.5: 0.5, 0.75: 0.146447, 1.0: 0.0}
    assert [schedule.rate(share) for share in expected] == pytest.approx([*expected.values()], abs=1e-6)


def test_defaults_are_the_published_ones() -> None:
    defaults = {name: parameter.default for name, parameter in inspect.signature(MAZE).parameters.items()}
    clones, generator, replay = (defaults[name] for name in ("clone_training", "generator_training", "replay"))
    assert (clones.network, clones.count, clones.steps, clones.soft_loss) == ("wrn_22_2", 1, 5, "kl")
    assert (generator.latent_dim, generator.width, generator.affine, generator.steps) == (100, 64, True, 1)
    assert (replay.batches, replay.stored) == (10, "last")
    assert (defaults["differences"], defaults["batch_size"]) == (ForwardDifferences(10, 1e-3), 128)
    parameters = [nn.Parameter(torch.zeros(1))]
    for network, rate in (("clone", 0.1), ("generator", 1e-4)):
        group = defaults[f"{network}_optimizer"](parameters).param_groups[0]
        assert (group["lr"], group["momentum"], group["weight_decay"]) == (rate, 0.9, 5e-4)


def test_hard_access_is_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match=r"access hard does not give.*set access to soft, or use DualStudents or Dis"):
        small_attack(MAZE, access="hard")


@pytest.mark.parametrize(
    ("budget", "before", "iterations"),
    [(5_000_000, 0, 2_604), (30_000_000, 15_000, 625)],  # of the 15,625 iterations the last are enough
)
def test_published_budgets(budget: int, before: int, iterations: int) -> None:
    attack = small_attack(MAZE, budget)
    assert attack.queries_per_iteration == 1_920
    assert budget // 1_920 == before + iterations
    attack.ledger.charge(before * 1_920, "earlier")
    assert run_out(attack, without_work(attack)) == iterations
    assert attack.ledger.by_phase["generator"] == iterations * 128 * 11
    assert attack.ledger.by_phase["clone"] == iterations * 128 * 4
    assert attack.ledger.remaining == budget % 1_920


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("left", [*range(2, 200, 14), 1408, 1410])
def test_any_remainder_is_spent(left: int, world_size: int) -> None:
    attack = small_attack(MAZE, 1_920 + left, remainder="fill")
    assert run_out(attack, without_work(attack, world_size)) == 2
    assert attack.ledger.remaining == 0
    # The second iteration learns from the batch that its own generator phase bought, or from none of it.
    assert attack.generator_batch is None
