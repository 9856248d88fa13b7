"""Clones of finished runs as the start of another: through the command line, as a user gives them."""

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_extract.attacks import DFME, DataFreeAttack, DisGUIDE, DualStudents
from lightning_extract.callbacks.query_axis import QueryAxis
from tests.attacks.test_contract import Kill
from tests.command_line import complaint
from tests.miniature import config_of, fit
from tests.state import assert_same_state, final_state

BUDGET = "--model.threat_model.query_budget"
FROM = "--model.clone_training.start_from"
ONE_EVALUATION = ["--data.iterations_per_epoch", "50"]
SHORT = [BUDGET, "128", *ONE_EVALUATION]  # one iteration of Dual Students, two of DisGUIDE
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders: two of DFME with a clone each, one of DisGUIDE with two clones."""
    folder = tmp_path_factory.mktemp("sources")
    for name, attack, more in [
        ("dfme", DFME, [BUDGET, "160", *ONE_EVALUATION]),
        ("dfme_other", DFME, [BUDGET, "320", *ONE_EVALUATION, "--seed_everything", "5"]),
        ("disguide", DisGUIDE, SHORT),
    ]:
        fit(config_of(attack), str(folder / name), *more)
    return {path.name: path for path in folder.iterdir()}


def extracted(run: Path) -> list[Weights]:
    """The clones in a run folder's last checkpoint."""
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    prefixes = [f"clones.members.{i}." for i in range(3)]
    members = [{name.removeprefix(p): v for name, v in weights.items() if name.startswith(p)} for p in prefixes]
    return [member for member in members if member]


def start_of(monkeypatch: pytest.MonkeyPatch, run_dir: str, *arguments: str) -> tuple[list[Weights], dict[str, Any]]:
    """The clones before the first iteration of a short Dual Students run, and its summary."""
    start: list[Weights] = []
    training_step = DataFreeAttack.training_step

    def remember_start(self: DataFreeAttack, *inputs: Any) -> None:
        if not start:
            start.extend(deepcopy(member.state_dict()) for member in self.clones.members)
        training_step(self, *inputs)

    with monkeypatch.context() as patch:
        patch.setattr(DataFreeAttack, "training_step", remember_start)
        fit(config_of(DualStudents), run_dir, *SHORT, *arguments)
    return start, json.loads(Path(run_dir, "summary.json").read_text())


def given(*runs: Path) -> list[str]:
    return [FROM, json.dumps([str(run) for run in runs])]


def same(found: Weights, expected: Weights) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("runs", "count", "prior"),
    [
        (["dfme"], 2, 160),
        (["disguide"], 2, 128),
        (["dfme_other", "dfme"], 2, 480),
        (["disguide", "dfme"], 3, 288),
        (["dfme", "disguide"], 2, 288),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_the_first_clones_are_those_of_the_runs(
    runs: list[str], count: int, prior: int, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, _ = start_of(monkeypatch, "fresh", "--model.clone_training.count", str(count))
    folders = [sources[name] for name in runs]
    start, summary = start_of(monkeypatch, "run", *given(*folders), "--model.clone_training.count", str(count))
    expected = [weights for folder in folders for weights in extracted(folder)][:count]
    for position, (mine, untouched) in enumerate(zip(start, fresh, strict=True)):
        assert same(mine, expected[position] if position < len(expected) else untouched), position
        assert same(mine, untouched) == (position >= len(expected))
    spent = {"dfme": 160, "dfme_other": 320, "disguide": 128}
    assert summary["start_from"] == [{"run": str(sources[name]), "queries": spent[name]} for name in runs]
    queries = summary["queries"]
    assert queries["prior"] == prior
    assert queries["spent"] == queries["answered"] == queries["budget"] == 128, "the past is not charged"


def test_a_run_from_random_weights_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _, summary = start_of(monkeypatch, "run")
    assert summary["start_from"] is None
    assert summary["queries"]["prior"] == 0


def test_a_resumed_run_needs_its_sources_no_more(sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(sources["dfme"], "source")
    arguments = [BUDGET, "512", *given(Path("source"))]  # four iterations in two epochs
    fit(config_of(DualStudents), "whole", *arguments)
    with monkeypatch.context() as patch:
        patch.setattr(QueryAxis, "on_train_batch_start", Kill(3).on_train_batch_start)
        with pytest.raises(InterruptedError):
            fit(config_of(DualStudents), "killed", *arguments)
    shutil.rmtree("source")
    fit(config_of(DualStudents), "killed", *arguments)
    assert_same_state(final_state(Path("killed")), final_state(Path("whole")))
    summary = json.loads(Path("killed/summary.json").read_text())
    assert summary["start_from"] == [{"run": "source", "queries": 160}]
    assert summary["queries"]["prior"] == 160


def broken(path: Path, content: Any) -> Path:
    """A run folder with something else in place of its checkpoint."""
    checkpoint = path / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    if isinstance(content, bytes):
        checkpoint.write_bytes(content)
    else:
        torch.save(content, checkpoint)
    return path


def refusal(capsys: pytest.CaptureFixture[str], run: Path, *arguments: str) -> str:
    return complaint(capsys, "fit", "--config", config_of(DualStudents), *SHORT, *given(run), *arguments)


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, Path("nowhere")) == (
        "clone_training.start_from: nowhere/checkpoints/last.ckpt does not exist; give the folder of a run that was "
        "trained"
    )
    message = refusal(capsys, broken(Path("damaged"), b"PK\x03\x04 cut off"))
    assert message.startswith("clone_training.start_from: damaged/checkpoints/last.ckpt cannot be read (")
    message = refusal(capsys, broken(Path("unsafe"), {"attack": Path()}))  # more than tensors and plain values
    assert message.startswith("clone_training.start_from: unsafe/checkpoints/last.ckpt cannot be read (")
    for content in ({"state_dict": {}}, [1, 2]):
        run = broken(tmp_path / f"foreign_{len(content)}", content)
        assert f"{run}/checkpoints/last.ckpt is no checkpoint of an extraction attack; give" in refusal(capsys, run)


def test_other_networks_are_refused_by_name(sources: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(capsys, sources["dfme"], "--model.clone_training.network", "lenet5")
    assert message == (
        f"clone_training.start_from ['{sources['dfme']}'] holds other networks than this config: 9 tensors differ, "
        "the first is conv1.bias; set clone_training.network to that of the run"
    )
    message = refusal(capsys, sources["dfme"], "--model.clone_training.network", "cnn_2_1")
    assert "tensors differ, the first is blocks.0.0.bias; set clone_training.network" in message


def test_clones_of_known_classes_do_not_discover_any(
    sources: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = ["--model.threat_model.num_classes", "unknown", "--model.threat_model.access", "hard"]
    message = refusal(capsys, sources["disguide"], *unknown)
    assert "num_classes is unknown, but clones of clone_training.start_from know it" in message


def test_clones_that_discovered_their_classes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = ["--model.threat_model.num_classes", "unknown", "--model.threat_model.access", "hard"]
    # As many outputs as the victim has classes, but in another order.
    fit(config_of(DualStudents), "discovered", *SHORT, *unknown, "--model.clone_training.class_capacity", "10")
    message = refusal(capsys, Path("discovered"), "--model.threat_model.access", "hard")
    assert message == (
        "clone_training.start_from: the clones of discovered number the victim's classes in the order in which they "
        "discovered them; give a run with a known num_classes"
    )
