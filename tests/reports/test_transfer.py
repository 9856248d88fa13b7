import csv
import json
from pathlib import Path

import pytest

from lightning_extract.errors import InputError
from lightning_extract.reports.collect import read_run
from lightning_extract.reports.grouping import group_runs
from lightning_extract.reports.report import report
from lightning_extract.reports.transfer import describe, read_transfer, show_transfer, transfer_rows
from lightning_extract.reports.transfer_plot import plot_transfer


def entry(name="fgsm", epsilon=0.1, rate=0.5, **others):
    found = {"samples": 100, "successes": round(100 * rate), "rate": rate, "interval": [rate - 0.1, rate + 0.1]}
    settings = {"norm": "inf", "targeted": False, "steps": 1, "step_size": 1.0, "restarts": 1, "seed": 0}
    return {"name": name, "epsilon": epsilon, "clone_rate": 0.9, "noise_rate": 0.02} | settings | found | others


def add_transfer(folder: Path, *entries, victim="abc", queries=1000):
    record = {
        "format_version": 1,
        "victim": {"name": "a", "weights_sha256": victim},
        "clone": {"queries": queries, "weights_sha256": "123"},
        "evasions": list(entries),
    }
    (folder / "transfer.json").write_text(json.dumps(record))
    return folder


def rows_of(*folders):
    return transfer_rows(group_runs(read_run(folder) for folder in folders))


def records(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_seeds_are_averaged_for_each_attack_and_experiment(make_run):
    folders = [
        add_transfer(make_run("a", 0), entry(rate=0.5), entry("pgd", steps=10, step_size=0.25, rate=0.7)),
        add_transfer(make_run("a", 1), entry(rate=0.6, noise_rate=0.04)),
        add_transfer(make_run("b", 0), entry(rate=0.2)),
        make_run("b", 1),
    ]
    rows, notes = rows_of(*folders)
    assert notes == []
    found = [(row.experiment, row.entries[0]["name"], len(row.entries)) for row in rows]
    assert found == [("a", "fgsm", 2), ("a", "pgd", 1), ("b", "fgsm", 1)]
    first = rows[0].record()
    assert first["rate_mean"] == pytest.approx(0.55)
    assert first["rate_ci95"] == pytest.approx(12.706205 * 0.05, abs=1e-5)  # t of one degree of freedom, s / sqrt(2)
    assert first["noise_rate_mean"] == pytest.approx(0.03)
    assert (first["clone_rate_mean"], first["samples_mean"]) == (pytest.approx(0.9), 100)
    assert rows[1].record()["rate_ci95"] is None
    assert rows[0].results() == {
        "experiment": "a",
        "n": "2",
        "attack": "fgsm",
        "norm": "inf",
        "epsilon": "0.1",
        "step / epsilon": "1",
        "victim fooled (%)": "55.00 ± 63.53",
        "clone fooled (%)": "90.00 ± 0.00",
        "fooled by noise (%)": "3.00 ± 12.71",
    }


@pytest.mark.parametrize(
    "change",
    [{"norm": 2}, {"epsilon": 0.2}, {"targeted": True}, {"steps": 5}, {"step_size": 0.5}, {"restarts": 3}],
)
def test_other_settings_are_another_row(make_run, change):
    rows, _ = rows_of(add_transfer(make_run("a", 0), entry()), add_transfer(make_run("a", 1), entry(**change)))
    assert [len(row.entries) for row in rows] == [1, 1]


def test_the_field_calls_attacks_by_their_steps():
    assert describe(entry())["attack"] == "fgsm"
    assert describe(entry("bim", steps=10))["attack"] == "bim-10"
    assert describe(entry("pgd", steps=40, restarts=5, targeted=True))["attack"] == "pgd-40 x 5, targeted"


def test_a_report_writes_table_and_plot_only_where_something_was_measured(make_run, tmp_path):
    add_transfer(make_run("a", 0), entry(rate=0.5), entry("pgd", steps=10, rate=0.7))
    add_transfer(make_run("b", 0), entry(rate=0.2), queries=400)
    report([tmp_path / "runs"], tmp_path / "out")
    table = (tmp_path / "out/transfer.md").read_text()
    assert "| a | 1 | fgsm | inf | 0.1 | 1 | 50.00 | 90.00 | 2.00 |" in table
    assert "b/seed_0 was measured after 400 of its 1,000 queries." in table
    assert [row["rate_mean"] for row in records(tmp_path / "out/transfer.csv")] == ["0.5", "0.7", "0.2"]
    assert (tmp_path / "out/transfer.png").read_bytes().startswith(b"\x89PNG")
    report([make_run("c", 0)], tmp_path / "none")
    assert not list((tmp_path / "none").glob("transfer*"))


def test_a_single_run_shows_the_interval_over_its_images(make_run, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.axes.Axes.bar", lambda self, places, heights, width, **given: drawn.append(given))
    rows, _ = rows_of(add_transfer(make_run("a", 0), entry(rate=0.5, interval=[0.4, 0.7])))
    plot_transfer(rows, tmp_path / "transfer.png")
    assert [end for ends in drawn[0]["yerr"] for end in ends] == pytest.approx([0.1, 0.2])


def test_another_victim_is_refused(make_run, tmp_path):
    folder = add_transfer(make_run(), entry(), victim="xyz")
    with pytest.raises(InputError, match="is about another victim than its run; run test again"):
        report([folder], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"format_version": 2}', '{"format_version": 1}'])
def test_a_broken_file_is_named(make_run, content):
    folder = make_run()
    (folder / "transfer.json").write_text(content)
    with pytest.raises(InputError, match=r"transfer\.json cannot be read .*; move it away or run test again"):
        read_transfer(folder)


def test_people_see_what_a_run_folder_holds(make_run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = entry("pgd", steps=10, epsilon=8 / 255, rate=0.873, interval=[0.795, 0.925])
    show_transfer(add_transfer(make_run(), found))
    printed = capsys.readouterr().out
    assert "transferability to a: images that fool it, in percent" in printed
    row = next(line for line in printed.splitlines() if "pgd-10" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "pgd-10", "inf", "0.0314", "100", "87.3 [79.5, 92.5]", "90.0", "2.0",
    ]  # fmt: skip
