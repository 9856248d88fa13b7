"""Distillation from a pool: what is bought, and what the later passes train on."""

import csv
import inspect
import json
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_extract.attacks import SurrogateDistillation
from lightning_extract.attacks.settings import CloneTraining
from lightning_extract.callbacks.collapse import CollapseWatchdog
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.data.draws import IterationDraws, mix_seed
from lightning_extract.errors import InputError
from lightning_extract.oracle import VictimOracle
from lightning_extract.victims.loading import load_victim
from tests.attacks.test_contract import Kill
from tests.float64_start import assert_same_weights, fit_in_float64, victim_logits
from tests.miniature import config_of, fit
from tests.stand_ins import stand_in_trainer, threat_model
from tests.state import assert_same_state, final_state
from tests.varied_victim import save_varied_victim

CONFIG = config_of(SurrogateDistillation)
BATCH, STEPS, PASSES = 8, 2, 4
SIZES = {"batch_size": BATCH, "passes": PASSES, "clone_training.steps": STEPS, "clone_training.heldout_every": 3}


def options(**values: Any) -> list[str]:
    return [text for name, value in values.items() for text in (f"--model.{name}", str(value))]


def image_pool(count: int) -> tuple[Path, np.ndarray[Any, Any]]:
    """A file of different images, and what it holds."""
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32), dtype=np.uint8)
    np.save("pool.npy", images)
    return Path("pool.npy"), images


class Watched:
    """What a run asked the victim, and what each step of the clones learnt, as identities of samples."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bought: list[float] = []
        self.steps: list[tuple[int, int, float, list[float]]] = []  # iteration, queries, learning rate, samples
        query, imitate = VictimOracle.query, SurrogateDistillation.imitate

        def watched_query(oracle: VictimOracle, samples: Tensor, phase: str) -> Tensor:
            self.bought += self.identities(samples)
            return query(oracle, samples, phase)

        def watched_imitate(attack: SurrogateDistillation, samples: Tensor, answers: Tensor) -> None:
            rate = attack.optimizer_list[0].param_groups[0]["lr"]
            self.steps.append((attack.iterations_done, attack.ledger.spent, rate, self.identities(samples)))
            imitate(attack, samples, answers)

        monkeypatch.setattr(VictimOracle, "query", watched_query)
        monkeypatch.setattr(SurrogateDistillation, "imitate", watched_imitate)

    @staticmethod
    def identities(samples: Tensor) -> list[float]:
        weights = torch.linspace(1, 2, 1024, dtype=torch.float64)
        return ((samples.double().flatten(1) + 1) @ weights).tolist()

    def learnt(self, steps: slice) -> list[float]:
        return [sample for *_, samples in self.steps[steps] for sample in samples]


@pytest.mark.parametrize(
    ("budget", "remainder", "spent", "purchases", "per_pass", "stored"),
    [
        # 6 purchases of 2 x 8; the first batches of the third and of the sixth are set aside.
        (100, "stop", 96, 6, 10, 80),
        # A seventh buys the last 4, which are learnt.
        (100, "fill", 100, 7, 11, 84),
        # The sixth buys the last 4 only, which are set aside.
        (84, "fill", 84, 6, 9, 72),
    ],
)
def test_bought_once_and_learnt_once_a_pass(
    budget: int,
    remainder: str,
    spent: int,
    purchases: int,
    per_pass: int,
    stored: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(monkeypatch)
    path, _ = image_pool(200)
    settings = {**SIZES, "threat_model.query_budget": budget, "threat_model.remainder": remainder}
    cli = fit(CONFIG, "run", *options(**settings), "--data.pool", str(path), "--data.iterations_per_epoch", "4")
    attack = cli.model
    assert len(watched.bought) == len(set(watched.bought)) == spent == attack.oracle.answered

    iterations = purchases + -(-(PASSES - 1) * per_pass // STEPS)
    assert (attack.purchases, attack.batches_per_pass) == (purchases, per_pass)
    assert attack.iterations == attack.iterations_done == iterations
    assert attack.finished
    assert len(watched.steps) == PASSES * per_pass

    aside = [sample for samples, _ in attack.heldout.answers.batches for sample in watched.identities(samples)]
    assert set(aside) < set(watched.bought)
    passes = [watched.learnt(slice(i * per_pass, (i + 1) * per_pass)) for i in range(PASSES)]
    assert len(passes[0]) == stored
    assert passes[0] == [sample for sample in watched.bought if sample not in aside], "in the order of purchase"
    for order in passes:
        assert sorted(order) == sorted(passes[0]), "all answers but those set aside, each once"
    assert len({tuple(order) for order in passes}) == PASSES, "each pass has an order of its own"

    for position, (iteration, _, rate, _) in enumerate(watched.steps):
        later = position - per_pass
        assert later < 0 or iteration == purchases + later // STEPS
        assert rate == pytest.approx(0.1 * (1 - abs(2 * iteration / iterations - 1)), abs=1e-12)
    assert {queries for _, queries, _, _ in watched.steps[per_pass:]} == {spent}

    with Path("run/metrics.csv").open() as file:
        rows = [(int(row["iteration"]), int(row["queries"])) for row in csv.DictReader(file)]
    ends = [*range(4, iterations, 4), iterations]
    assert rows == [(end, min(spent, end * BATCH * STEPS)) for end in ends]
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["queries"]["by_phase"] == {"clone": spent}
    assert summary["queries"]["after_stop"] == 0


def test_a_pool_below_the_budget_starts_again_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    path, images = image_pool(30)
    settings = {**SIZES, "passes": 1, "threat_model.query_budget": 96}
    attack = fit(CONFIG, "run", *options(**settings), "--data.pool", str(path)).model
    rounds = [watched.bought[i : i + 30] for i in range(0, 96, 30)]
    whole = sorted(watched.identities(torch.from_numpy(images)[:, None] / 127.5 - 1))
    for bought in rounds[:3]:
        assert sorted(bought) == pytest.approx(whole)
    assert rounds[0] != rounds[1] != rounds[2]
    assert len(set(rounds[3])) == 6
    assert attack.finished
    assert attack.iterations_done == attack.purchases == 6


def slow_distillation(
    attack: Any, clone: nn.Module, pool: Tensor | None, passes: int, aside: int, temperature: float | None
) -> None:
    """Trains the clone in place; without a temperature by labels, without a pool by uniform noise."""
    optimizer = torch.optim.SGD(clone.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    order = torch.randperm(0 if pool is None else len(pool), generator=torch.Generator().manual_seed(mix_seed(0, 0)))
    batches: list[tuple[int, Tensor]] = []  # iteration and samples
    purchases = 6
    for number in range(purchases):
        draws = IterationDraws(mix_seed(0, number), 0, 1, torch.device("cpu"))
        for step in range(STEPS):
            start = (number * STEPS + step) * BATCH
            images = draws.uniform(BATCH, 1, 32, 32) if pool is None else pool[order[start : start + BATCH]]
            if (number + 1) % aside or step:
                batches.append((number, images))
    stored = torch.cat([images for _, images in batches])
    later = []
    for number in range(passes - 1):
        generator = torch.Generator().manual_seed(mix_seed(0, -2 - number))
        later += torch.split(stored[torch.randperm(len(stored), generator=generator)], BATCH)
    batches += [(purchases + position // STEPS, images) for position, images in enumerate(later)]
    iterations = batches[-1][0] + 1

    clone.train()
    for iteration, images in batches:
        share = iteration / iterations
        optimizer.param_groups[0]["lr"] = 0.1 * (2 * share if share < 0.5 else 2 - 2 * share)
        p, log_q = victim_logits(attack, images).softmax(1).double(), clone(images.double())
        if temperature is None:
            loss = -log_q.log_softmax(1)[range(BATCH), p.argmax(1)].sum() / BATCH
        else:
            p = p ** (1 / temperature) / (p ** (1 / temperature)).sum(1, keepdim=True)
            log_q = (log_q / temperature).log_softmax(1)
            loss = temperature**2 * (p * (p.log() - log_q)).sum() / BATCH
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("images", [True, False], ids=["soft labels of images", "hard labels of noise"])
def test_it_equals_the_slow_restatement(images: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {**SIZES, "threat_model.query_budget": 6 * STEPS * BATCH, "clone_training.count": 1}
    settings["threat_model.victim"] = save_varied_victim(Path("victim"))
    pool = None
    if images:  # bytes keep them exactly
        path, content = image_pool(150)
        pool = torch.from_numpy(content)[:, None].float() / 127.5 - 1
        settings |= {"clone_training.soft_loss": "kl", "clone_training.temperature": 3.0, "replay_dtype": "uint8"}
    else:
        path = Path("uniform_noise")
        settings |= {"threat_model.access": "hard"}
    attack, start = fit_in_float64(CONFIG, monkeypatch, *options(**settings), "--data.pool", str(path))
    before = deepcopy(start["clones"])
    slow_distillation(attack, start["clones"][0], pool, PASSES, aside=3, temperature=3.0 if images else None)
    assert_same_weights(attack.clones.members, start["clones"], before)


def test_kill_and_resume_within_the_third_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    # 15 purchases, then passes of 12 batches: iterations 27 to 38 are the third pass, 30 is the last checkpoint.
    arguments = ["--data.iterations_per_epoch", "15"]
    whole = fit(CONFIG, "whole", *arguments).model
    assert (whole.purchases, whole.batches_per_pass, whole.iterations_done) == (15, 12, 39)
    with monkeypatch.context() as patch:
        patch.setattr(QueryAxis, "on_train_batch_start", Kill(35).on_train_batch_start)
        with pytest.raises(InterruptedError):
            fit(CONFIG, "killed", *arguments)
    torch.manual_seed(12345)
    watched = Watched(monkeypatch)
    fit(CONFIG, "killed", *arguments)
    assert [step[0] for step in watched.steps] == list(range(30, 39))
    assert not watched.bought
    assert_same_state(final_state(Path("killed")), final_state(Path("whole")))
    assert Path("killed/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()


def test_the_published_study() -> None:
    # DFME's surrogate study: 50 epochs over 50,000 images in batches of 100.
    settings = {name: p.default for name, p in inspect.signature(SurrogateDistillation.__init__).parameters.items()}
    training, schedule = settings["clone_training"], settings["schedule"]
    assert (training.count, training.steps, training.soft_loss, training.temperature) == (1, 1, "kl", 1.0)
    assert (settings["passes"], settings["batch_size"], schedule.shape) == (50, 100, "triangle")
    small = CloneTraining(network="lenet5_half", count=1, soft_loss="kl", heldout_every=0)
    attack = SurrogateDistillation(threat_model(50_000), small)
    assert (attack.purchases, attack.batches_per_pass, attack.iterations) == (500, 500, 25_000)
    optimizer = attack.configure_optimizers()[0][0]
    assert {name: optimizer.defaults[name] for name in ("lr", "momentum", "weight_decay")} == {
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
    }
    rates = {}
    for done in (0, 6_250, 12_500, 18_750, 25_000):
        attack.iterations_done = done
        rates[attack.progress] = attack.schedule.rate(attack.progress)
    assert rates == {0.0: 0.0, 0.25: 0.5, 0.5: 1.0, 0.75: 0.5, 1.0: 0.0}
    assert attack.finished


def test_chance_level_in_the_first_pass_is_no_collapse() -> None:
    # The rate rises from zero over half of the training, of which the purchases are a fiftieth.
    small = CloneTraining(network="lenet5_half", count=1, heldout_every=0)
    attack, trainer, watchdog = SurrogateDistillation(threat_model(1000), small), stand_in_trainer(), CollapseWatchdog()
    _, attack.victim_card = load_victim("lenet5_mnist5k")
    attack.ledger.charge(1000, "clone")
    trainer.callback_metrics = {"agreement_clone_0": torch.tensor(0.1)}
    found = []
    for attack.iterations_done in (10, 99, 100):
        with warnings.catch_warnings(record=True):
            watchdog.on_validation_end(trainer, attack)
        found.append(len(watchdog.reports))
    assert attack.iterations == 500
    assert found == [0, 0, 1], "the patience is a fifth of the training"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"passes": 0}, "passes is 0; give at least 1"),
        ({"input_space": "post_transform"}, "a pool holds images, not normalised data"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any], message: str) -> None:
    others = {name: values[name] for name in ("passes",) if name in values}
    model = threat_model(**{name: value for name, value in values.items() if name not in others})
    with pytest.raises(InputError, match=message):
        SurrogateDistillation(model, CloneTraining(network="lenet5_half"), **others)


def test_data_without_a_pool_is_refused() -> None:
    lines = CONFIG.read_text().replace("PoolStream", "GeneratorStream").splitlines()
    Path("config.yaml").write_text("\n".join(line for line in lines if "pool:" not in line))
    with pytest.raises(InputError, match=r"draws its queries from a pool; set data.class_path to PoolStream"):
        fit(Path("config.yaml"))
