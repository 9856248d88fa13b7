"""Runs that take over the first stages of another run, through the command line, as a user gives them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lightning_extract.attacks import DFMS
from lightning_extract.attacks.stages import STAGES
from lightning_extract.callbacks.query_axis import QueryAxis
from tests.attacks.test_contract import Kill
from tests.command_line import complaint
from tests.miniature import config_of, fit
from tests.state import assert_same_state, final_state

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning's use of jsonargparse

CONFIG = config_of(DFMS)
EARLIER = "--model.stages.earlier."
SPENT = {"gan": 0, "clone_init": 112, "diversity": 112, "clone_reinit": 224, "alternating": 992}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("source") / "run"
    fit(CONFIG, str(folder))
    return folder


def taken(source: Path, through: str) -> list[str]:
    return [EARLIER + "run", str(source), EARLIER + "through", through]


def summary(run: str) -> Any:
    return json.loads(Path(run, "summary.json").read_text())


@pytest.mark.parametrize("through", STAGES[:-1])
def test_a_run_goes_on_after_the_stages_that_it_takes_over(
    through: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start: dict[str, torch.Tensor] = {}
    training_step = DFMS.training_step

    def remember_start(self: DFMS, *inputs: Any) -> None:
        if not start:
            start.update({name: value.clone() for name, value in self.state_dict().items()})
        training_step(self, *inputs)

    monkeypatch.setattr(DFMS, "training_step", remember_start)
    model = fit(CONFIG, "run", *taken(source, through)).model
    for name, value in load_file(source / "stages" / f"{through}.safetensors").items():
        assert torch.equal(start[name], value), name
    own = STAGES[STAGES.index(through) + 1 :]
    assert [stage.name for stage in model.stages.stages] == list(own)
    assert {phase.removesuffix("_validation") for phase in model.ledger.by_phase} <= set(own)
    assert model.ledger.by_phase["alternating"] == (1_000 - model.initial_queries) // 64 * 64
    found = summary("run")
    assert found["queries"]["prior"] == SPENT[through]
    assert found["start_from"] == [{"run": str(source), "queries": SPENT[through]}]
    assert found["best_heldout"] is not None, "validation images are taken over where this run buys none"


def test_prior_queries_add_up_over_runs(source: Path) -> None:
    fit(CONFIG, "second", *taken(source, "clone_init"))
    fit(CONFIG, "third", *taken(Path("second"), "clone_reinit"))
    assert summary("third")["queries"]["prior"] == 112 + 112


def test_validation_images_are_copied_into_the_own_folder(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = taken(source, "clone_reinit")
    fit(CONFIG, "whole", *arguments)
    folder = "replay/clone_reinit/validation/000000000000_000000000040.safetensors"
    assert_same_state(load_file(Path("whole", folder)), load_file(source / folder))
    with monkeypatch.context() as patch:
        patch.setattr(QueryAxis, "on_train_batch_start", Kill(6).on_train_batch_start)
        with pytest.raises(InterruptedError):
            fit(CONFIG, "killed", *arguments)
    fit(CONFIG, "killed", *arguments)
    assert_same_state(final_state(Path("killed")), final_state(Path("whole")))
    assert (source / folder).is_file(), "the other run keeps its own"


@pytest.mark.parametrize(
    "problem",
    ["no run", "stage not reached", "damaged", "victim", "network", "width", "access", "dtype", "replay gone"],
)
def test_a_run_that_cannot_be_taken_over_is_refused(
    problem: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path("other")
    shutil.copytree(source, other)
    snapshot = other / "stages" / "clone_reinit.safetensors"
    arguments = taken(other, "clone_reinit")
    if problem == "no run":
        arguments, message = (
            taken(Path("nowhere"), "gan"),
            "nowhere/stages/gan.safetensors does not exist; give the folder",
        )
    elif problem == "stage not reached":
        snapshot.unlink()
        message = (
            "clone_reinit.safetensors does not exist; give the folder of a run that has finished stage clone_reinit"
        )
    elif problem == "damaged":
        snapshot.write_bytes(snapshot.read_bytes()[:100])
        message = "clone_reinit.safetensors cannot be read (SafetensorError); give another run"
    elif problem == "victim":
        content = snapshot.read_bytes()
        position = content.index(b"victim") + 15
        snapshot.write_bytes(content[:position] + b"0000" + content[position + 4 :])
        message = "extracted with victim"
    elif problem == "network":
        arguments += ["--model.clone_training.network", "lenet5"]
        message = "holds other networks than this config"
    elif problem == "width":
        arguments += ["--model.width", "4"]
        message = "set clone_training, latent_dim and width as in that run"
    elif problem == "access":
        arguments += ["--model.threat_model.access", "hard"]
        message = "extracted with access soft, here it is hard; give a run of the same"
    elif problem == "dtype":
        arguments += ["--model.replay_dtype", "uint8"]
        message = "extracted with replay_dtype float32, here it is uint8"
    else:
        shutil.rmtree(other / "replay")
        message = "lacks the samples from 0 to 40, which the run folder of the checkpoint has; restore"
    text = complaint(capsys, "fit", "--config", CONFIG, "--run_dir", "run", *arguments)
    assert message in text
    assert not Path("run", "config.yaml").exists()


def test_a_generator_serves_runs_of_other_access(source: Path) -> None:
    model = fit(CONFIG, "run", *taken(source, "gan"), "--model.threat_model.access", "hard").model
    assert model.ledger.by_phase["clone_init"] == 72


def test_clones_of_other_access_are_refused_also_where_the_run_buys_its_own_images(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*taken(source, "clone_init"), "--model.threat_model.access", "hard"]
    text = complaint(capsys, "fit", "--config", CONFIG, "--run_dir", "run", *arguments)
    assert "extracted with access soft, here it is hard; give a run of the same" in text
