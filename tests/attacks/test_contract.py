"""What every attack must keep; a new attack is found by itself."""

import csv
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_extract.attacks import DataFreeAttack, ExtractionAttack
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.errors import InputError
from lightning_extract.oracle import VictimOracle
from lightning_extract.victims.loading import load_victim
from tests.miniature import ATTACKS, config_of, fit
from tests.state import assert_same_state, final_state

BUDGET = "--model.threat_model.query_budget"
# What each phase changes, where an attack does not go by generator, clone and replay phase.
PHASES_OF_THEIR_OWN = {
    "DFMS": {
        "clone_step": {"clones", "averages"},
        "generator_step": {"generator"},
        "discriminator_step": {"discriminator"},
    },
    "ActiveThief": {"train_epoch": {"clones"}, "validation_f1": set(), "choose": set(), "purchase": set()},
}
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)


@every_attack
def test_declared_cost_is_what_the_account_says(attack: type[ExtractionAttack]) -> None:
    cli = fit(config_of(attack))
    model, ledger = cli.model, cli.model.ledger
    iterations, left = divmod(ledger.budget - model.initial_queries, model.queries_per_iteration)
    assert left > 0, "the miniature budget must not divide, or the remainder is not tested"
    assert ledger.spent == model.initial_queries + iterations * model.queries_per_iteration
    assert model.oracle.answered == ledger.spent
    assert ledger.remaining == left


@every_attack
def test_fill_spends_the_budget_exactly(attack: type[ExtractionAttack]) -> None:
    cli = fit(config_of(attack), "run", "--model.threat_model.remainder", "fill")
    assert cli.model.ledger.remaining == 0
    assert cli.model.oracle.answered == cli.model.ledger.budget


@every_attack
def test_victim_stays_untouched_and_out_of_reach(
    attack: type[ExtractionAttack], monkeypatch: pytest.MonkeyPatch
) -> None:
    late_checks: list[int] = []
    monkeypatch.setattr(VictimOracle, "verify_pending", lambda oracle: late_checks.append(oracle.ledger.spent))
    model = fit(config_of(attack)).model
    with Path("run/metrics.csv").open() as table:
        evaluated = {int(row["queries"]) for row in csv.DictReader(table)}
    assert len(evaluated) > 1
    assert model.ledger.spent in evaluated
    assert evaluated <= set(late_checks), "each evaluation reads the checks that accelerators put off"
    original, _ = load_victim(model.threat_model.victim)
    victim = model.oracle._network
    assert not victim.training
    for name, value in victim.state_dict().items():
        assert torch.equal(value, original.state_dict()[name]), name
    inside = {id(module) for module in model.modules()}
    assert not inside & {id(module) for module in victim.modules()}
    stored = {id(parameter) for parameter in model.parameters()}
    assert not stored & {id(parameter) for parameter in victim.parameters()}
    model.train()
    assert not victim.training


@every_attack
def test_each_phase_changes_its_own_network_only(
    attack: type[ExtractionAttack], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_phases: dict[str, set[str]] = PHASES_OF_THEIR_OWN.get(attack.__name__, {})
    if not own_phases and not issubclass(attack, DataFreeAttack):
        pytest.fail("state which phases this kind of attack has")
    changed: dict[str, set[str]] = {}

    def watch(phase: str) -> None:
        original: Callable[..., Any] = getattr(attack, phase)

        def watched(self: ExtractionAttack, *args: Any) -> Any:
            before = {name: value.detach().clone() for name, value in self.named_parameters()}
            trainable = [value.requires_grad for value in self.parameters()]
            result = original(self, *args)
            moved = [name for name, value in self.named_parameters() if not torch.equal(value, before[name])]
            changed.setdefault(phase, set()).update(name.split(".")[0] for name in moved)
            assert all(value.grad is None for value in self.parameters()), f"{phase} left a gradient"
            assert [value.requires_grad for value in self.parameters()] == trainable, f"{phase} left a network frozen"
            return result

        monkeypatch.setattr(attack, phase, watched)

    for phase in own_phases or ("generator_phase", "clone_phase", "replay_phase"):
        watch(phase)
    model = fit(config_of(attack)).model
    if own_phases:
        assert changed == own_phases
        return
    expected = {"clone_phase": {"clones"}, "replay_phase": {"clones"} if model.replay.batches else set()}
    if model.generator_training is not None:
        expected["generator_phase"] = {"generator"}
    assert changed == expected


class Kill(Callback):
    """Ends the process's run in the middle of an epoch, as a kill would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch.number == self.after:
            raise InterruptedError("killed")


@every_attack
@pytest.mark.parametrize(
    ("after", "clone"), [(1, "lenet5_half"), (4, "lenet5_half"), (5, "lenet5_half"), (3, "cnn_2_1")]
)
def test_kill_and_resume_equals_the_uninterrupted_run(
    attack: type[ExtractionAttack], after: int, clone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ["--model.clone_training.network", clone]  # cnn_2_1 draws itself, for its dropout
    fit(config_of(attack), "whole", *network)
    with monkeypatch.context() as patch:
        patch.setattr(QueryAxis, "on_train_batch_start", Kill(after).on_train_batch_start)
        with pytest.raises(InterruptedError):
            fit(config_of(attack), "killed", *network)
    torch.manual_seed(12345)  # a new process has another global random state
    fit(config_of(attack), "killed", *network)
    assert_same_state(final_state(Path("killed")), final_state(Path("whole")))
    assert Path("killed/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()


@every_attack
def test_a_finished_run_buys_nothing_more(attack: type[ExtractionAttack]) -> None:
    first = fit(config_of(attack)).model
    again = fit(config_of(attack)).model
    assert again.oracle.answered == first.oracle.answered
    assert again.ledger.by_phase == first.ledger.by_phase


@every_attack
def test_hard_access_works_or_is_refused(attack: type[ExtractionAttack]) -> None:
    try:
        model = fit(config_of(attack), "run", "--model.threat_model.access", "hard").model
    except ValueError as error:  # the parser passes an attack's own refusal on as one
        assert re.search("access hard .* set access to soft, or use", str(error))  # noqa: PT017
    else:
        assert model.ledger.spent > 0


@every_attack
def test_budget_below_one_iteration_is_refused(attack: type[ExtractionAttack]) -> None:
    with pytest.raises(InputError, match=r"budget of 10 queries does not pay (one iteration of|the) \d+"):
        fit(config_of(attack), "run", BUDGET, "10")


@every_attack
def test_every_argument_has_help(attack: type[ExtractionAttack]) -> None:
    def check(parameters: inspect.Signature, docstring: str, where: str) -> None:
        for parameter in parameters.parameters.values():
            if parameter.name == "self":
                continue
            assert re.search(rf"^\s+{parameter.name}: \S", docstring, re.MULTILINE), f"{where}.{parameter.name}"
            if isinstance(parameter.annotation, type) and hasattr(parameter.annotation, "__dataclass_fields__"):
                group = parameter.annotation
                check(inspect.signature(group), group.__doc__ or "", group.__name__)

    check(inspect.signature(attack.__init__), attack.__init__.__doc__ or "", attack.__name__)
