"""The console script as a user meets it: a run and its folder, what can be done with it, and help."""

import csv
import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_extract.cli import main
from lightning_extract.data.datasets import load_images
from tests.command_line import CONFIGS, run_script, start_script
from tests.miniature import CONF
from tests.state import assert_same_state, final_state

CONFIG = CONF / "disguide.yaml"
TEST_IMAGES = 1000
SHEET_IMAGES = 64


def read_summary(run: Path) -> Any:
    return json.loads((run / "summary.json").read_text())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contents(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run of the console script and what it printed."""
    run = tmp_path_factory.mktemp("runs") / "miniature" / "seed_0"
    return run, run_script("fit", "--config", CONFIG, "--run_dir", run)


def test_a_run_leaves_its_folder(finished: tuple[Path, str]) -> None:
    run, _ = finished
    names = {str(path.relative_to(run)) for path in contents(run)}
    assert {"config.yaml", "metrics.csv", "summary.json", "curves.png", "checkpoints/last.ckpt"} <= names
    assert not {name for name in names if "partial" in name}
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = rows_of(run / "metrics.csv")
    assert [row["queries"] for row in rows] == ["256", "512", "768", "960"]
    assert all(row["accuracy"] and row["agreement"] and row["kl"] for row in rows)


def test_the_account_adds_up(finished: tuple[Path, str]) -> None:
    summary = read_summary(finished[0])
    queries = summary["queries"]
    assert summary["status"] == "finished"
    assert sum(queries["by_phase"].values()) == queries["spent"] == queries["answered"] == 960
    assert queries["spent"] <= queries["budget"] == 1000
    assert queries["after_stop"] == 0
    assert queries["reference"] == TEST_IMAGES + SHEET_IMAGES
    assert summary["final"]["queries"] == 960
    assert summary["experiment"] == "disguide"


def test_people_see_a_table(finished: tuple[Path, str]) -> None:
    run, printed = finished
    final = read_summary(run)["final"]
    row = next(line for line in printed.splitlines() if "│ final " in line)
    assert f"{100 * final['agreement']:.2f} %" in row
    assert f"{100 * final['accuracy']:.2f} %" in row
    assert "queries: 960 of 1,000 (clone 960); 0 after the stop" in printed
    assert f"run folder: {run}" in printed


def test_the_same_command_again_asks_nothing_more(finished: tuple[Path, str]) -> None:
    run, _ = finished
    before, summary = contents(run), read_summary(run)
    printed = run_script("fit", "--config", CONFIG, "--run_dir", run)
    assert "queries: 960 of 1,000" in printed
    after = contents(run)
    assert after.keys() == before.keys()
    changed = {str(path.relative_to(run)) for path, content in after.items() if content != before[path]}
    assert changed <= {"summary.json", "curves.png"}
    same = {key: value for key, value in read_summary(run).items() if not key.endswith(("_seconds", "_second"))}
    assert same == {key: value for key, value in summary.items() if not key.endswith(("_seconds", "_second"))}


def test_the_record_repeats_the_run(finished: tuple[Path, str]) -> None:
    run, _ = finished
    record = yaml.safe_load((run / "config.yaml").read_text())
    assert record["experiment"] == "disguide"
    assert record["model"]["init_args"]["clone_optimizer"]["init_args"]["lr"] == 0.03  # defaults are recorded too
    main(["fit", "--config", str(run / "config.yaml"), "--run_dir", "repeated"])
    assert_same_state(final_state(Path("repeated")), final_state(run))
    assert read_summary(Path("repeated"))["experiment"] == "disguide"


@pytest.mark.parametrize("command", ["validate", "test"])
def test_evaluation_finds_the_last_numbers_again(
    command: str, finished: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = finished
    before = contents(run)
    main([command, "--config", str(run / "config.yaml")])
    printed = capsys.readouterr().out
    for metric in ("accuracy", "agreement"):
        shown = re.search(rf"\b{metric}\W+([\d.]+)", printed)
        assert shown is not None
        assert float(shown[1]) == pytest.approx(read_summary(run)["final"][metric], abs=1e-6)
    assert contents(run) == before


def test_predictions_are_those_of_the_extracted_model(
    finished: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = finished
    main(["predict", "--config", str(run / "config.yaml")])
    path = run / "predictions.csv"
    assert f"predictions: {path}" in capsys.readouterr().out
    rows = rows_of(path)
    path.unlink()
    assert [int(row["index"]) for row in rows] == list(range(TEST_IMAGES))
    for row in rows:
        shares = [float(row[f"p_{k}"]) for k in range(10)]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert shares[int(row["label"])] == max(shares)
    labels = load_images("mnist5k", "test").labels.tolist()
    right = sum(int(row["label"]) == label for row, label in zip(rows, labels, strict=True))
    assert right / TEST_IMAGES == pytest.approx(read_summary(run)["final"]["accuracy"])


def test_a_report_on_two_seeds(finished: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = finished
    runs = first.parent
    main(["fit", "--config", str(CONFIG), "--seed_everything", "1", "--run_dir", str(runs / "seed_1")])
    capsys.readouterr()
    main(["report", str(runs), "--out", "report", "--metric", "agreement"])
    assert "disguide" in capsys.readouterr().out
    (row,) = rows_of(Path("report/table.csv"))
    accuracies = [read_summary(runs / f"seed_{seed}")["final"]["accuracy"] for seed in (0, 1)]
    assert row["seeds"] == "2"
    assert float(row["final_accuracy_mean"]) == pytest.approx(sum(accuracies) / 2)
    assert {path.name for path in Path("report").iterdir()} == {
        "table.md", "table.csv", "runs.csv", "labels.csv", "labels.png", "curves_agreement.png",
    }  # fmt: skip


def test_a_killed_run_goes_on_as_if_nothing_had_been(finished: tuple[Path, str]) -> None:
    whole, _ = finished
    run = Path("killed").resolve()
    process = start_script("fit", "--config", CONFIG, "--run_dir", run)
    deadline = time.monotonic() + 120
    while not (run / "metrics.csv").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert len(rows_of(run / "metrics.csv")) < 4, "killed too late to prove anything"
    run_script("fit", "--config", CONFIG, "--run_dir", run)
    assert_same_state(final_state(run), final_state(whole))
    assert (run / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    mine, its = read_summary(run)["queries"], read_summary(whole)["queries"]
    assert mine | {"reference": 0} == its | {"reference": 0}


def test_the_end_is_evaluated_and_kept_whatever_the_intervals(finished: tuple[Path, str]) -> None:
    main(["fit", "--config", str(CONFIG), "--run_dir", "rare", "--checkpoint_every", "3",
          "--trainer.check_val_every_n_epoch", "3"])  # fmt: skip
    assert [row["queries"] for row in rows_of(Path("rare/metrics.csv"))] == ["768", "960"]
    assert_same_state(final_state(Path("rare"))["state_dict"], final_state(finished[0])["state_dict"])


def test_bar_and_checkpoints_can_be_switched_off(capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", str(CONFIG), "--run_dir", "bare", "--trainer.enable_progress_bar", "false",
          "--trainer.enable_checkpointing", "false"])  # fmt: skip
    assert "queries/s" not in capsys.readouterr().err
    assert read_summary(Path("bare"))["status"] == "finished"
    assert not Path("bare/checkpoints").exists()


def test_a_victim_is_trained_asked_and_attacked() -> None:
    arguments = ["--config", str(CONFIGS / "victim_lenet5_mnist5k.yaml"), "--trainer.accelerator", "cpu",
                 "--trainer.max_epochs", "1", "--model.lr_scheduler.init_args.T_max", "1"]  # fmt: skip
    main(["fit", *arguments])
    run = Path("runs/victim_lenet5_mnist5k/seed_0")
    (row,) = rows_of(run / "metrics.csv")
    main(["predict", *arguments])
    labels = load_images("mnist5k", "test").labels.tolist()
    right = sum(int(row["label"]) == label for row, label in zip(rows_of(run / "predictions.csv"), labels, strict=True))
    assert right / TEST_IMAGES == pytest.approx(float(row["accuracy"]), abs=1e-6)
    main(["fit", "--config", str(CONFIG), "--run_dir", "attack", "--trainer.max_epochs", "1",
          "--model.threat_model.victim", "victims/lenet5_mnist5k"])  # fmt: skip
    assert read_summary(Path("attack"))["victim_accuracy"] == pytest.approx(right / TEST_IMAGES)


def test_without_names_the_folder_is_named_after_config_and_seed() -> None:
    main(["fit", "--config", str(CONFIG), "--seed_everything", "7", "--trainer.max_epochs", "1"])
    assert read_summary(Path("runs/disguide/seed_7"))["status"] == "unfinished"


# Help, as it reads on a screen of 80 columns.


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code: object = 0
    try:
        main(arguments)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    assert "__main__" not in captured.out
    assert "<class '" not in captured.out
    return captured.out


def test_help_of_the_program_is_what_the_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    printed = run_script("--help")
    assert printed == help_of(capsys, "--help") == help_of(capsys)
    for command in ("fit", "validate", "test", "predict", "report", "import-victim"):
        assert re.search(rf"^  {command} +\w.*\w$", printed, re.MULTILINE)
    assert max(map(len, printed.splitlines())) <= 110


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed = help_of(capsys, command, "--help")
    assert printed.startswith("usage: lightning-extract COMMAND --config FILE [--KEY VALUE ...]")
    assert "--model.help DisGUIDE" in printed.split("options:")[0]
    for option in ("--seed_everything", "--run_dir", "--experiment", "--ckpt_path", "--trainer.precision"):
        assert option in printed
    for unfriendly in ("registry:", "every aspect of training via flags"):
        assert unfriendly not in printed


def test_help_of_an_attack_and_its_data(capsys: pytest.CaptureFixture[str]) -> None:
    printed = help_of(capsys, "fit", "--model.help", "DisGUIDE")
    assert printed.startswith("usage: lightning-extract ")
    for option in ("threat_model.query_budget", "clone_training.network", "replay.size", "schedule.factor"):
        assert f"--model.{option}" in printed
    assert "--data.iterations_per_epoch" in help_of(capsys, "fit", "--data.help", "GeneratorStream")


@pytest.mark.parametrize(("command", "option"), [("report", "--out OUT"), ("import-victim", "--weights WEIGHTS")])
def test_help_of_our_own_commands(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed = help_of(capsys, command, "--help")
    assert printed.startswith(f"usage: lightning-extract {command} ")
    assert option in printed
    assert "Lightning Trainer" not in printed


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"lightning-extract \d+\.\d+\.\d+\n", help_of(capsys, "--version"))


def test_a_config_can_be_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    shown = yaml.safe_load(help_of(capsys, "fit", "--config", str(CONFIG), "--print_config"))
    assert shown["model"]["init_args"]["diversity_weight"] == 0.2
