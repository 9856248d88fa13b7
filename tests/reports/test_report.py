import csv

import pytest

from lightning_extract.errors import InputError
from lightning_extract.reports import main, report
from tests.reports.conftest import rounds_table

FILES = ["curves_accuracy.png", "curves_agreement.png", "runs.csv", "table.csv", "table.md"]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def records(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_whole_report(make_run, tmp_path, capsys):
    for seed, accuracy in enumerate([0.80, 0.82]):
        make_run("b_soft", seed, accuracy)
    make_run("a_single", 0, 0.7)
    report([tmp_path / "runs"], tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == FILES
    rows = records(tmp_path / "out/table.csv")
    assert [row["experiment"] for row in rows] == ["a_single", "b_soft"]
    assert rows[0]["final_accuracy_ci95"] == ""
    assert float(rows[1]["final_accuracy_mean"]) == pytest.approx(0.81)
    runs = records(tmp_path / "out/runs.csv")
    assert [(row["experiment"], row["seed"]) for row in runs] == [
        ("a_single", "0"),
        ("b_soft", "0"),
        ("b_soft", "1"),
    ]
    assert "81.00 ± 12.71" in (tmp_path / "out/table.md").read_text()
    assert "81.00 ± 12.71" in capsys.readouterr().out


def test_a_plot_for_each_metric_that_some_experiment_logged(make_run, tmp_path, capsys):
    cosine = "queries,iteration,accuracy,agreement,gradient_cosine\n400,2,0.5,0.5,0.1\n1000,5,0.6,0.6,0.2\n"
    make_run("known", metrics=cosine)
    make_run("unknown", summary={"class_discovery": [[256, 3], [900, 10]]})
    report([tmp_path / "runs"], tmp_path / "out")
    extra = ["curves_classes_found.png", "curves_gradient_cosine.png"]
    assert sorted(contents(tmp_path / "out")) == sorted([*FILES, *extra])
    assert "is not in" not in capsys.readouterr().err, "none of their seeds has the quantity"
    report([tmp_path / "runs"], tmp_path / "asked", ["classes_found"])
    warning = capsys.readouterr().err
    assert "known is not in curves_classes_found.png: a seed of it did not log classes_found." in warning
    report([tmp_path / "runs"], tmp_path / "chosen", ["accuracy"])
    assert sorted(contents(tmp_path / "chosen")) == ["curves_accuracy.png", *FILES[2:]]


def test_tables_of_old_runs_and_new_ones_stand_together(make_run, tmp_path):
    make_run("old", metrics="queries,accuracy,agreement\n0,0.1,0.1\n1000,0.8,0.85\n")
    start = [{"run": "runs/old/seed_0", "queries": 1000}]
    make_run("tuned", summary={"start_from": start, "queries.prior": 1000, "class_discovery": [[256, 3], [900, 10]]})
    report([tmp_path / "runs"], tmp_path / "out")
    old, tuned = records(tmp_path / "out/runs.csv")
    assert (old["queries.prior"], tuned["queries.prior"]) == ("", "1000")
    assert (old["class_discovery"], tuned["class_discovery"]) == ("", "[256, 3]; [900, 10]")
    old, tuned = records(tmp_path / "out/table.csv")
    assert (old["prior_queries_mean"], tuned["prior_queries_mean"]) == ("", "1000.0")
    assert "prior queries" in (tmp_path / "out/table.md").read_text()


def test_the_order_of_runs_does_not_matter(make_run, tmp_path):
    folders = [make_run("x", seed, 0.7 + seed / 10) for seed in range(3)]
    report(folders, tmp_path / "one")
    report(folders[::-1], tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_unfinished_runs_are_left_out_visibly(make_run, tmp_path, capsys):
    make_run("x", 0)
    unfinished = make_run("x", 1, summary={"status": "unfinished"})
    killed = make_run("x", 2)
    (killed / "summary.json").unlink()
    report([tmp_path / "runs"], tmp_path / "out")
    warning = capsys.readouterr().err
    assert f"{unfinished} is left out" in warning
    assert f"{killed} is left out" in warning
    assert str(unfinished) in (tmp_path / "out/table.md").read_text()
    assert records(tmp_path / "out/table.csv")[0]["seeds"] == "1"
    report([tmp_path / "runs"], tmp_path / "all", include_unfinished=True)
    assert f"{unfinished} is unfinished" in capsys.readouterr().err
    assert records(tmp_path / "all/table.csv")[0]["seeds"] == "2"


def test_a_broken_unfinished_run_does_not_stop_the_report(make_run, tmp_path):
    make_run("x", 0)
    make_run("x", 1, summary={"status": "unfinished", "final": {}}, metrics="")
    report([tmp_path / "runs"], tmp_path / "out")
    assert records(tmp_path / "out/table.csv")[0]["seeds"] == "1"


def test_nothing_finished_is_refused(make_run, tmp_path):
    make_run(summary={"status": "unfinished"})
    with pytest.raises(InputError, match="all runs are unfinished"):
        report([tmp_path / "runs"], tmp_path / "out")


def test_a_refused_report_writes_nothing(make_run, tmp_path):
    make_run("x", 0)
    make_run("x", 1, config={"model.init_args.batch_size": 1})
    with pytest.raises(InputError, match="mixes"):
        report([tmp_path / "runs"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="is a file"):
        report([tmp_path / "runs/x/seed_0"], tmp_path / "runs/x/seed_0/config.yaml")


def test_the_command_line(make_run, tmp_path, capsys):
    folders = [str(make_run("x", seed)) for seed in range(2)]
    main([*folders, "--out", str(tmp_path / "out"), "--metric", "kl", "--metric", "accuracy"])
    assert sorted(contents(tmp_path / "out")) == ["curves_accuracy.png", "curves_kl.png", *FILES[2:]]
    main(["--out", str(tmp_path / "default"), *folders])
    assert sorted(contents(tmp_path / "default")) == FILES
    with pytest.raises(InputError, match="f1"):
        main([*folders, "--out", str(tmp_path / "out"), "--metric", "f1"])
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    help_text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "--metric" in help_text
    assert "--include_unfinished" in help_text
    assert "--paired" in help_text
    assert "--published" in help_text
    assert "--metrics" not in help_text


@pytest.fixture
def strategies(make_run):
    """Strategies of an attack in rounds, with the victim's labels."""
    told = {"label_counts": [700, 300], "classes": ["negative", "positive"]}
    for seed in range(2):
        make_run("kcenter", seed, agreement=0.8 + 0.1 * seed, summary=told, metrics=rounds_table(0.4, 0.6, 0.8))
        make_run("random", seed, agreement=0.7 + 0.1 * seed, summary=told, metrics=rounds_table(0.7, first=500))


@pytest.mark.usefixtures("strategies")
def test_attacks_in_rounds_have_files_of_their_own(tmp_path):
    report([tmp_path / "runs"], tmp_path / "out")
    extra = ["curves_rounds.png", "labels.csv", "labels.png", "rounds.csv", "rounds.md"]
    assert sorted(contents(tmp_path / "out")) == sorted([*FILES, *extra])
    assert [row["round"] for row in records(tmp_path / "out/rounds.csv")] == ["0", "1", "2", "0"]
    assert records(tmp_path / "out/labels.csv")[1]["class"] == "positive"
    report([tmp_path / "runs/random"], tmp_path / "single")
    assert sorted(contents(tmp_path / "single")) == sorted([*FILES, "labels.csv", "labels.png"])


@pytest.mark.usefixtures("strategies")
def test_pairs_and_published_values_on_the_command_line(tmp_path, capsys):
    published = tmp_path / "published.csv"
    published.write_text("experiment,metric,value,source\nkcenter,final_agreement,81.5,Table 3\n")
    runs, out = str(tmp_path / "runs"), tmp_path / "out"
    main([runs, "--out", str(out), "--paired", "random", "--published", str(published)])
    printed = capsys.readouterr().out
    assert "10.00 ± 0.00" in printed
    assert "agreement 81.50" in printed
    assert records(out / "paired.csv")[0]["experiment"] == "kcenter"
    text = (out / "table.md").read_text()
    assert "agreement 81.50 (Table 3)" in text
    assert "- Published values were given with the report" in text
    assert [row["published_final_agreement"] for row in records(out / "table.csv")] == ["0.815", ""]
    for option in (["--paired", "f1"], ["--published", str(tmp_path / "absent.csv")]):
        with pytest.raises(InputError):
            main([runs, "--out", str(tmp_path / "refused"), *option])
    assert not (tmp_path / "refused").exists()


def test_published_values_of_other_experiments_are_told(make_run, tmp_path, capsys):
    (tmp_path / "published.csv").write_text("experiment,metric,value,source\nother,final_agreement,81.5,Table 3\n")
    report([make_run("a")], tmp_path / "out", published=tmp_path / "published.csv")
    assert "tells of none of these experiments: a." in capsys.readouterr().err
    assert "| published" not in (tmp_path / "out/table.md").read_text()
