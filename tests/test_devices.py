"""Attacks on an accelerator, which a CPU pretends to be: nothing mixes devices, and no iteration waits for it."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lightning_extract
from lightning_extract.attacks import (
    DFME,
    DFMS,
    MAZE,
    ActiveThief,
    DisGUIDE,
    DualStudents,
    ExtractionAttack,
    SurrogateDistillation,
)
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.commands import run_cli
from tests.attacks.test_contract import Kill
from tests.miniature import ATTACKS, config_of, fit
from tests.pretended_device import DEVICE, OnDevice, PretendedDevice, pretended_device
from tests.text_miniature import write_config, write_files

ORACLE = "oracle/oracle.py _verify"  # of a phase, the first batch alone is checked at once
REPLAY = "data/replay.py add"  # where it lies in main memory; replay.device accelerator does not wait
AVERAGE = "networks/moving_average.py begun"  # once after a checkpoint was loaded
ONCE = {  # in a run, for tables that stay on the device
    "data/autoaugment.py _factors", "data/autoaugment.py _sources", "data/autoaugment.py _values",
    "data/shapes.py _masks",
}  # fmt: skip
TORCHVISION = {  # its own small tensors and masks, in two of the seven groups of operations
    "data/autoaugment.py _sharpen", "data/autoaugment.py _auto_contrast",
}  # fmt: skip
STAGE_END = {  # selection, snapshot and pictures; fresh weights are drawn on the CPU
    "attacks/averaged_clones.py select", "attacks/stage_snapshots.py <dictcomp>", "callbacks/sample_sheet.py draw",
    "callbacks/sample_sheet.py generated", "callbacks/sample_sheet.py sheet", "networks/fresh_weights.py fresh_weights",
}  # fmt: skip
EPOCH = {  # early stopping decides by loss and F1, once an epoch of a round
    "attacks/activethief.py train_epoch", "attacks/activethief.py validation_f1",
}  # fmt: skip
ROUND = {"networks/fresh_weights.py fresh_weights", "selection/kcenter.py select_kcenter"}
DEEPFOOL = {  # after each step, samples that have arrived make room for others
    "attacks/round_candidates.py distances", "selection/boundary_walk.py step", "selection/boundary_walk.py <genexpr>",
}  # fmt: skip

ALLOWED: dict[type[ExtractionAttack], set[str]] = {
    DFME: set(),
    DFMS: {REPLAY, AVERAGE} | ONCE | TORCHVISION | STAGE_END,
    MAZE: set(),
    ActiveThief: EPOCH | ROUND | DEEPFOOL,
    DisGUIDE: set(),
    DualStudents: {AVERAGE},
    SurrogateDistillation: {REPLAY},
}
ON_DEVICE = ("--model.replay.device", "accelerator")
ARGUMENTS = {
    DFMS: ("--model.threat_model.query_budget", "488"),
    MAZE: ON_DEVICE,
    ActiveThief: ("--model.threat_model.query_budget", "95", "--model.rounds.count", "2"),
    DisGUIDE: ON_DEVICE,
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_no_iteration_waits(attack: type[ExtractionAttack], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before a kill, and not after it."""
    run = config_of(attack), "run", *ARGUMENTS.get(attack, ())
    with pretended_device(monkeypatch) as device:
        with monkeypatch.context() as patch:
            patch.setattr(QueryAxis, "on_train_batch_start", Kill(after=4).on_train_batch_start)
            with pytest.raises(InterruptedError):
                fit(*run)
        model = fit(*run).model
    assert model.finished
    assert isinstance(model.oracle.label_counts, OnDevice)
    # Pixels and answers of each phase, before and after the kill.
    assert device.waits.pop(ORACLE) <= 2 * 2 * len(model.ledger.by_phase)
    assert set(device.waits) == ALLOWED[attack]


def test_sentences_wait_at_the_end_of_an_epoch_or_round(monkeypatch: pytest.MonkeyPatch) -> None:
    write_files()
    write_config()
    with pretended_device(monkeypatch) as device:
        run_cli(["fit", "--config", "text.yaml", "--run_dir", "run", "--model.text.vectors", "vectors.txt"])
    assert set(device.waits) == {ORACLE, "data/word_vectors.py fill_embedding"} | EPOCH | ROUND


# The pretence itself: what it must see.

WAITS = {
    "item": lambda there: there.sum().item(),
    "bool": lambda there: bool(there.sum() > 0),
    "float": lambda there: float(there.sum()),
    "tolist": lambda there: there.tolist(),
    "cpu": lambda there: there.cpu(),
    "to": lambda there: there.to("cpu"),
    "from the host": lambda there: torch.ones(3).to(there.device),
    "list": lambda there: torch.tensor([1.0, 2.0], device=there.device),
    "copy": lambda there: there.copy_(torch.ones(3)),
    "mask": lambda there: there[there > 0],
    "nonzero": lambda there: there.nonzero(),
    "index from the host": lambda there: there[torch.tensor([0, 2])],
    "list as an index": lambda there: there[[0, 2]],
}
GOES_ON = {
    "arithmetic": lambda there: (there * 2 + 1).sum(),
    "a number": lambda there: there * torch.tensor(2.0),
    "index": lambda there: there[there.long()],
    "slice": lambda there: there[1:],
    "where": lambda there: torch.where(there > 0, there, 0),
    "not blocking": lambda there: torch.ones(3).to(there.device, non_blocking=True),
    "the same device": lambda there: there.to(there.device),
    "type": lambda there: there.to(torch.float64),
}


def _waits(call: object) -> bool:
    with PretendedDevice() as device:
        there = torch.ones(3, device=DEVICE)
        device.watching = True
        call(there)  # type: ignore[operator]
    return bool(device.waits)


@pytest.mark.parametrize("call", WAITS.values(), ids=WAITS)
def test_the_pretended_device_sees_what_waits(call: object) -> None:
    assert _waits(call)


@pytest.mark.parametrize("call", GOES_ON.values(), ids=GOES_ON)
def test_the_pretended_device_lets_the_rest_go_on(call: object) -> None:
    assert not _waits(call)


def test_the_pretended_device_refuses_mixtures() -> None:
    with PretendedDevice(), pytest.raises(RuntimeError, match="takes tensors of the accelerator and of the CPU"):
        torch.ones(3, device=DEVICE) + torch.ones(3)


def test_the_pretended_device_computes_gradients_there() -> None:
    with PretendedDevice():
        weight = torch.nn.Parameter(torch.tensor([2.0, 3.0], device=DEVICE))
        weight.square().sum().backward()
        torch.optim.SGD([weight], lr=0.5, fused=True).step()
        assert isinstance(weight.grad, Tensor)
        assert (weight.device, weight.grad.device) == (DEVICE, DEVICE)
        assert weight.tolist() == [0.0, 0.0]


# Where values reach the host at all, as the code is written.

HOST = re.compile(r"\.(?:cpu|numpy|item|tolist)\(\)")
READS = {
    "attacks/class_discovery.py": 1,  # new classes are looked for in every purchase when their number is unknown
    "attacks/bought_answers.py": 1,  # positions of a checkpoint
    "attacks/round_candidates.py": 1,  # a round's distances
    "attacks/stage_snapshots.py": 1,  # a file, at the end of a stage
    "attacks/surrogate.py": 1,  # an order drawn on the CPU, once a pass
    "attacks/thief_split.py": 1,  # a fingerprint of the pool, whose images lie in main memory
    "selection/adversarial.py": 1,  # what a round chooses, as all of selection/
    "selection/boundary_walk.py": 2,
    "selection/kcenter.py": 1,
    "selection/uncertainty.py": 1,
}


def test_values_reach_the_host_in_known_places_alone() -> None:
    package = Path(lightning_extract.__file__).parent
    found = {
        str(path.relative_to(package)): len(HOST.findall(path.read_text()))
        for folder in ("attacks", "functional", "networks", "selection")
        for path in (package / folder).glob("*.py")
    }
    assert {path: count for path, count in found.items() if count} == READS
