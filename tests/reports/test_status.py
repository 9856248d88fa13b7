import csv
import os
import socket
import time
from pathlib import Path

import pytest
from rich.console import Console

from lightning_extract.callbacks.run_lock import run_lock
from lightning_extract.cli import HELP
from lightning_extract.commands import COMMANDS
from lightning_extract.errors import InputError
from lightning_extract.reports.status import collect_states, main, print_states, status
from lightning_extract.reports.sweep import read_sweep
from tests.command_line import complaint

HOUR = 3600


def aged(folder, hours):
    """Makes all files of a folder so old."""
    then = time.time() - hours * HOUR
    for path in folder.rglob("*"):
        os.utime(path, (then, then))
    return folder


def with_checkpoint(folder):
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    return folder


def unevaluated(folder):
    (folder / "summary.json").unlink()
    (folder / "metrics.csv").unlink()
    return folder


def locked(folder, host="elsewhere"):
    """The lock that a run of this host has left, or one of another host that may be running."""
    (folder / "run.lock").write_text(f"process 7 on host {host}\n")
    return folder


def states(*places):
    return {f"{state.experiment} {state.seed}": state.state for state in collect_states(places)}


def test_states(make_run, tmp_path):
    unfinished = {"status": "unfinished", "queries.spent": 400}
    aged(make_run("done", 0), 5)
    aged(make_run("done", 1, summary={"collapse": ["at chance"]}), 5)
    aged(make_run("ended", 0, summary={"status": "collapsed"}), 5)
    locked(make_run("young", 0, summary=unfinished))
    make_run("young", 1, summary=unfinished)
    locked(with_checkpoint(make_run("young", 2, summary=unfinished)), socket.gethostname())
    aged(locked(with_checkpoint(make_run("old", 0, summary=unfinished))), 5)
    aged(make_run("old", 1, summary=unfinished), 5)  # nothing to go on from
    make_run("broken", 0).joinpath("summary.json").write_text("{")
    locked(unevaluated(make_run("begun", 0)))
    aged(locked(unevaluated(make_run("dead", 0))), 5)
    assert states(tmp_path) == {
        "done 0": "finished",
        "done 1": "collapsed",
        "ended 0": "collapsed",
        "young 0": "running",
        "young 1": "failed",
        "young 2": "stopped",
        "old 0": "stopped",
        "old 1": "failed",
        "broken None": "failed",
        "begun 0": "running",
        "dead 0": "failed",
    }


def test_a_slow_run_is_given_three_of_its_usual_times(make_run, tmp_path):
    # Four evaluations in eight hours: two hours each.
    slow = {"status": "unfinished", "wall_time_seconds": 8.0 * HOUR}
    aged(locked(with_checkpoint(make_run("slow", 0, summary=slow))), 5.9)
    aged(locked(with_checkpoint(make_run("slow", 1, summary=slow))), 6.1)
    assert states(tmp_path) == {"slow 0": "running", "slow 1": "stopped"}


@pytest.mark.parametrize("name", ["checkpoints/last.ckpt", "run.lock", "metrics.csv"])
def test_any_change_is_a_sign_of_life(make_run, name):
    folder = aged(locked(with_checkpoint(make_run(summary={"status": "unfinished"}))), 5)
    assert states(folder) == {"toy 0": "stopped"}
    (folder / name).touch()
    assert states(folder) == {"toy 0": "running"}


def test_who_holds_the_lock_is_running_however_long(make_run):
    folder = with_checkpoint(make_run(summary={"status": "unfinished"}))
    with run_lock(folder):
        aged(folder, 5)
        assert states(folder) == {"toy 0": "running"}
    assert states(folder) == {"toy 0": "stopped"}


def test_numbers_are_those_of_the_last_evaluation(make_run, tmp_path):
    folder = make_run(seed=3, summary={"status": "unfinished", "queries.spent": 250, "final.agreement": 0.123})
    aged(folder, 1)
    (state,) = collect_states([tmp_path])
    assert (state.spent, state.budget, state.share, state.agreement, state.accuracy) == (250, 1000, 0.25, 0.123, 0.8)
    assert state.age == pytest.approx(HOUR, abs=60)


def test_victims_and_what_lies_inside_of_runs_are_left_out(make_run, tmp_path):
    folder = make_run()
    (folder / "inner").mkdir()
    (folder / "inner" / "summary.json").write_text("{}")
    victim = tmp_path / "runs" / "victim" / "seed_0"
    victim.mkdir(parents=True)
    (victim / "config.yaml").write_text("seed_everything: 0\nmodel: {class_path: VictimTraining, init_args: {}}\n")
    assert states(tmp_path, folder, tmp_path / "runs") == {"toy 0": "finished"}  # and each once


def test_lines_of_a_sweep_without_a_folder_have_not_started(make_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("toy.yaml").write_text("seed_everything: 7\nmodel: {init_args: {threat_model: {query_budget: 1_000}}}\n")
    make_run("toy", 7)
    Path("sweep.txt").write_text(
        "--config toy.yaml\n"
        "--config toy.yaml --seed_everything 8\n"
        "--config=toy.yaml --experiment=other --model.threat_model.query_budget=2_000\n"
        "--config toy.yaml --run_dir elsewhere/x\n"
    )
    found = {
        str(state.folder): (state.state, state.budget) for state in collect_states([], read_sweep(Path("sweep.txt")))
    }
    assert found == {
        "runs/toy/seed_7": ("finished", 1000),
        "runs/toy/seed_8": ("not started", 1000),
        "runs/other/seed_7": ("not started", 2000),
        "elsewhere/x": ("not started", 1000),
    }


def test_options_behind_a_sweep_are_added_to_every_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("toy.yaml").write_text("seed_everything: 7\n")
    Path("sweep.txt").write_text("--config toy.yaml\n--config toy.yaml --seed_everything 8 --experiment other\n")
    main(["--sweep", "sweep.txt", "--options", "--seed_everything 3", "--csv", "out.csv"])
    assert "2 runs: 2 not started" in capsys.readouterr().out
    with Path("out.csv").open() as file:
        assert [row["folder"] for row in csv.DictReader(file)] == ["runs/other/seed_3", "runs/toy/seed_3"]


def test_table_and_file(make_run, tmp_path, capsys):
    make_run("a", 0)
    locked(make_run("a[b]", 1, summary={"status": "unfinished", "queries.budget": 20_000_000}))
    status([tmp_path], csv=tmp_path / "out.csv")
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "2 runs: 1 finished, 1 running"
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["experiment"] for row in rows] == ["a", "a[b]"]
    assert rows[1]["budget"] == "20000000"
    assert rows[0]["agreement"] == "0.85"
    assert rows[0]["spent_share"] == "1.0"


def test_eighty_columns_hold_every_number(make_run, tmp_path, capsys):
    make_run("disguide_c10_8m", 4, 1.0, 1.0, summary={"queries.budget": 20_000_000, "queries.spent": 20_000_000})
    print_states(collect_states([tmp_path]), Console(width=80))
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines if "finished" in line] == [
        "disguide_c10_8m 4 finished 20.00 M 20.00 M 100 % 100.00 % 100.00 % 0 s",
        "1 runs: 1 finished",
    ]


def test_hundreds_of_runs_take_no_time(make_run, tmp_path):
    for seed in range(300):
        (make_run(seed=seed) / "config.yaml").write_text("{")  # slow to read, and not needed beside a summary
    begin = time.perf_counter()
    assert states(tmp_path) == {f"toy {seed}": "finished" for seed in range(300)}
    assert time.perf_counter() - begin < 10


def test_mistakes(tmp_path, capsys):
    for arguments, words in (
        ([], "give run folders"),
        ([tmp_path / "no"], "is no folder"),
        ([tmp_path], "holds no run of an attack"),
        (["--sweep", tmp_path / "no.txt"], "cannot be read"),
    ):
        assert words in complaint(capsys, "status", *arguments)
    sweep = tmp_path / "sweep.txt"
    for text, words in (
        ("", "has no lines"),
        ("--config", "is no list of options"),
        ("--seed_everything 1", "line 1 of sweep .* has no --config"),
        (f"--config {tmp_path}/no.yaml", "no.yaml of line 1 of sweep .* cannot be read"),
        (f"--config {sweep}", "holds no settings"),
    ):
        sweep.write_text(text and f"{text}\n")
        with pytest.raises(InputError, match=words):
            read_sweep(sweep)


def test_the_command_is_known(make_run, capsys):
    assert "status" in COMMANDS
    assert "\n  status " in HELP
    main([str(make_run())])
    assert "1 runs: 1 finished" in capsys.readouterr().out
