"""What an offline run shows, read back from its files."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from lightning.pytorch import LightningModule
from torch import nn
from torch.optim import SGD

from lightning_extract.attacks import DFMS, DisGUIDE
from lightning_extract.attacks.stages import STAGES
from lightning_extract.callbacks.run_record import RunRecord
from lightning_extract.dashboards.wandb_dashboard import WandbDashboard, learning_rates, run_id, shown_on_dashboards
from lightning_extract.dashboards.workspace import LAYOUT, MEDIA
from tests import wandb_files
from tests.command_line import CONFIGS, complaint
from tests.image_folders import write_image_folder
from tests.miniature import config_of, fit
from tests.stand_ins import noise_attack, stand_in_trainer
from tests.varied_victim import unknown_classes

OVERLAY = ("--config", str(CONFIGS / "wandb.yaml"), "--trainer.logger.offline", "true")
QUERIES = [256, 512, 768, 960]
# Seconds, and names of files.
UNEQUAL = {"queries_per_second", "_runtime", "_timestamp", "_wandb", "_wandb.runtime"}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run from beginning to end."""
    folder = tmp_path_factory.mktemp("shown") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        patch.setattr("sys.argv", ["lightning-extract"])
        fit(config_of(DisGUIDE), str(folder), *OVERLAY, "--gradient_quality.every", "2")
        assert not (folder.parent / "wandb").exists()
        yield folder


@pytest.fixture(scope="module")
def file(run_dir: Path) -> Path:
    return wandb_files.ended_part(run_dir)


def test_every_row_has_queries_and_they_are_the_axis(file: Path) -> None:
    assert [row["queries"] for row in wandb_files.rows(file)] == [*QUERIES, QUERIES[-1]]
    assert wandb_files.axes(file) == {"queries": "", "*": "queries"}


def test_rows_hold_the_table_of_the_run_and_what_only_a_dashboard_shows(run_dir: Path, file: Path) -> None:
    *evaluations, _ = wandb_files.rows(file)
    columns = (run_dir / "metrics.csv").read_text().splitlines()[0].split(",")
    assert set(columns) <= {name for row in evaluations for name in row}
    last = json.loads((run_dir / "summary.json").read_text())
    assert evaluations[-1]["agreement"] == last["final"]["agreement"]
    assert evaluations[-1]["agreement_best_heldout"] == last["best_heldout"]["agreement"]
    assert evaluations[-1]["victim_labels.values"] == last["label_counts"]
    assert [sum(row["victim_labels.values"]) for row in evaluations] == QUERIES
    assert evaluations[0]["learning_rate_clones"] == 0.03
    assert evaluations[-1]["learning_rate_clones"] == pytest.approx(0.03 * 0.3**2)
    assert all(row["queries_per_second"] > 0 for row in evaluations)


def test_the_end_shows_pictures_and_a_table(run_dir: Path, file: Path) -> None:
    end = wandb_files.rows(file)[-1]
    for name, picture in {"samples": "samples/end.png", "curves": "curves.png", "labels": "labels.png"}.items():
        assert (file.parent / "files" / end[f"{name}.path"]).read_bytes() == (run_dir / picture).read_bytes()
    table = json.loads((file.parent / "files" / end["results.path"]).read_text())
    final = json.loads((run_dir / "summary.json").read_text())["final"]
    assert [row[0] for row in table["data"]] == ["final", "best_heldout", "best_test"]
    assert dict(zip(table["columns"], table["data"][0], strict=True)) | final == final | {"point": "final"}


def test_the_table_of_runs_has_the_numbers_of_the_summary(run_dir: Path, file: Path) -> None:
    shown, known = wandb_files.summary(file), json.loads((run_dir / "summary.json").read_text())
    assert shown["final"] == known["final"]
    assert shown["queries"] == known["queries"]
    assert shown["status"] == "finished"


def test_the_run_is_found_by_experiment_attack_and_seed(run_dir: Path, file: Path) -> None:
    run, config = wandb_files.run_record(file), wandb_files.config(file)
    assert (run.project, run.run_group, run.job_type) == ("lightning_extract", "disguide", "attack")
    assert run.display_name == "disguide seed 0"
    assert list(run.tags) == ["DisGUIDE", "mnist5k", "soft", "seed 0"]
    recorded = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert config["experiment"] == recorded["experiment"] == "disguide"  # the first file's name
    assert config["model"] == recorded["model"]
    assert config["victim_card"]["network"] == "lenet5"
    assert run.run_id == run_id(recorded)


def test_the_id_is_that_of_experiment_seed_and_what_decides_numbers(run_dir: Path) -> None:
    recorded = yaml.safe_load((run_dir / "config.yaml").read_text())

    def changed(value: Any, *keys: str) -> str:
        config = copy.deepcopy(recorded)
        branch = config
        for key in keys[:-1]:
            branch = branch[key]
        branch[keys[-1]] = value
        return run_id(config)

    same = run_id(recorded)
    assert changed(True, "trainer", "logger") == same
    assert changed(2, "trainer", "devices") == same
    assert changed("elsewhere", "run_dir") == same
    others = [
        changed(1, "seed_everything"),
        changed("another", "experiment"),
        changed(32, "model", "init_args", "batch_size"),
    ]
    assert len({same, *others}) == 4


def test_panels_draw_what_runs_log(file: Path, tmp_path: Path) -> None:
    logged = {name.removesuffix("._type") for row in wandb_files.rows(file) for name in row}
    # What this attack has not: a discriminator, and a number of classes to be discovered.
    fit(config_of(DFMS), "dfms")
    fit(config_of(DisGUIDE), "unknown", *unknown_classes(tmp_path / "victim"))
    for folder in ("dfms", "unknown"):
        logged |= set(Path(folder, "metrics.csv").read_text().splitlines()[0].split(","))
    drawn = {metric for lines in LAYOUT.values() for each in lines for metric in each.metrics} | set(MEDIA.values())
    assert drawn <= logged, drawn - logged


def test_a_stage_of_an_attack_shows_its_samples_at_its_queries() -> None:
    fit(config_of(DFMS), "run", *OVERLAY)
    rows = wandb_files.rows(wandb_files.ended_part(Path("run")))
    pictures = [(row["samples.caption"], row["queries"]) for row in rows if "samples.path" in row]
    assert [stage for stage, _ in pictures] == list(STAGES)
    assert [queries for _, queries in pictures] == sorted(queries for _, queries in pictures)
    assert all("queries" in row for row in rows)


def test_the_training_of_a_victim_has_epochs(tmp_path: Path) -> None:
    images = write_image_folder(tmp_path / "data", per_class=16)
    settings = {
        "seed_everything": 0,
        "trainer": {"accelerator": "cpu", "max_epochs": 2},
        "model": {
            "class_path": "VictimTraining",
            "init_args": {
                "network": "cnn_2_1", "num_classes": 2, "mean": [0.5] * 3, "std": [0.5] * 3, "image_size": 8,
                "crop_padding": 1, "victim_dir": "victim", "lr_scheduler": None,
            },
        },
        "data": {"class_path": "ImageData", "init_args": {"dataset": str(images), "image_size": 8, "batch_size": 8}},
    }  # fmt: skip
    config = tmp_path / "victim_small.yaml"
    config.write_text(yaml.safe_dump(settings))
    fit(config, "run", *OVERLAY)
    file = wandb_files.ended_part(Path("run"))
    assert [row["epoch"] for row in wandb_files.rows(file)] == [0, 1]
    assert all({"accuracy", "train_loss", "_step"} <= row.keys() for row in wandb_files.rows(file))
    assert any(name.startswith("learning_rate_") for name in wandb_files.rows(file)[0])
    assert wandb_files.axes(file) == {"epoch": "", "*": "epoch"}
    assert wandb_files.run_record(file).job_type == "victim"
    fit(config, "trial", *OVERLAY, "--trainer.fast_dev_run", "true", "--model.victim_dir", "other")
    assert not Path("trial/wandb").exists()


def test_learning_rates_are_named_by_network() -> None:
    module = LightningModule()
    module.clones, module.generator = nn.Linear(1, 1), nn.Linear(1, 1)
    optimizers = [
        SGD(network.parameters(), lr=rate)
        for network, rate in ((module.clones, 0.1), (module.generator, 0.2), (module.clones, 0.3))
    ]
    assert learning_rates(stand_in_trainer(optimizers=optimizers), module) == {
        "learning_rate_clones": 0.1,
        "learning_rate_generator": 0.2,
        "learning_rate_clones_2": 0.3,
    }


# What it must not do.


def test_weights_and_biases_that_fail_in_everything_leave_the_run_as_it_is(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("W&B is broken")

    monkeypatch.setattr(wandb, "init", fail)
    fit(config_of(DisGUIDE), "run", "--config", str(CONFIGS / "wandb.yaml"), "--gradient_quality.every", "2")
    assert Path("run/metrics.csv").read_bytes() == (run_dir / "metrics.csv").read_bytes()


def test_without_the_library_nothing_is_bought(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    message = complaint(capsys, "fit", "--config", config_of(DisGUIDE), "--run_dir", "run", *OVERLAY)
    assert "pip install -e '.[dashboards]'" in message
    assert not Path("run").exists()


def test_other_processes_open_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_extract.dashboards.wandb_dashboard.WandbRun", None)
    dashboard, attack = WandbDashboard(), noise_attack()
    record = RunRecord.__new__(RunRecord)
    trainer = stand_in_trainer(is_global_zero=False, optimizers=[], callbacks=[record])
    dashboard.on_train_start(trainer, attack)
    dashboard.on_validation_end(trainer, attack)
    with shown_on_dashboards([dashboard]):
        pass


def test_a_run_that_fails_is_marked_so() -> None:
    dashboard, marks = WandbDashboard(), []
    dashboard.close = marks.append  # type: ignore[method-assign]
    with pytest.raises(KeyError), shown_on_dashboards([dashboard]):
        raise KeyError
    assert marks == [True]


KILLED = """
import os, signal, sys, time
from lightning_extract.callbacks.run_checkpoint import RunCheckpoint
from lightning_extract.commands import run_cli

save = RunCheckpoint.on_train_epoch_end
def save_and_die(self, trainer, module):
    save(self, trainer, module)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
RunCheckpoint.on_train_epoch_end = save_and_die
run_cli(sys.argv[1:])
"""


@pytest.mark.slow
def test_the_parts_of_a_killed_run_are_those_of_an_uninterrupted_one(file: Path) -> None:
    arguments = ["--config", str(config_of(DisGUIDE)), "--run_dir", "run", *OVERLAY, "--gradient_quality.every", "2"]
    killed = subprocess.run([sys.executable, "-c", KILLED, "fit", *arguments], check=False, env=os.environ, timeout=300)
    assert killed.returncode == -9
    wandb.teardown()  # the service of this process may still hold the id, which a new process's does not know
    fit(config_of(DisGUIDE), "run", *arguments[4:], "--trainer.logger.tags", "[again]")
    first, second = wandb_files.parts(Path("run"))
    assert wandb_files.run_record(first).run_id == wandb_files.run_record(second).run_id
    assert wandb_files.run_record(first).run_id == wandb_files.run_record(file).run_id
    whole = numbers(wandb_files.rows(file)[:-1])
    wandb_files.wait_for_end(second)
    assert [row["queries"] for row in wandb_files.rows(first)] == QUERIES[:1]
    parts = [row for part in (first, second) for row in numbers(wandb_files.rows(part)) if "agreement" in row]
    assert parts == whole


def numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in UNEQUAL} for row in rows]
