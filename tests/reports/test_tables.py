import csv

from rich.console import Console

from lightning_extract.reports.collect import read_run
from lightning_extract.reports.rows import Row
from lightning_extract.reports.tables import print_rows, run_record, write_csv, write_markdown


def test_a_run_is_one_flat_row(row):
    record = run_record(row.group[1])
    assert record["queries.by_phase.clone"] == 900
    assert record["collapse"] == "label entropy"
    assert record["final.accuracy"] == 0.82


def test_csv_has_the_union_of_columns(tmp_path):
    write_csv([{"a": 1, "b": None}, {"a": 2, "c": "x"}], tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": "", "c": ""}, {"a": "2", "b": "", "c": "x"}]


def test_markdown_rows_have_as_many_cells_as_the_header(row, tmp_path):
    write_markdown([row, row], ["a note"], tmp_path / "t.md")
    lines = (tmp_path / "t.md").read_text().splitlines()
    counts = [line.count("|") for line in lines if line.startswith("|")]
    assert len(counts) == 12
    assert all(len(set(counts[i : i + 4])) == 1 for i in (0, 4, 8))
    assert lines[-1] == "- a note"


def test_optional_columns_stand_where_some_experiment_fills_them(make_run, row, tmp_path, capsys):
    def text_of(*rows):
        write_markdown(rows, [], tmp_path / "t.md")
        print_rows(rows, Console(width=80))
        return (tmp_path / "t.md").read_text(), capsys.readouterr().out

    summary = {"queries.prior": 51_200, "final.accuracy_averaged": 0.7, "final.agreement_averaged": 0.75}
    tuned = Row([read_run(make_run("tuned", summary=summary))])
    for text in text_of(row, row, row):
        assert "prior" not in text
        assert "averaged clone" not in text
    markdown, terminal = text_of(row, row, tuned)
    assert markdown.count("| prior queries |") == 2  # beside the results and among the queries
    assert "| 0 |" in markdown
    assert "no budget here counts them" in markdown
    assert "- The averaged clone has weights averaged over training: of Dual Students the first clone" in markdown
    lines = [line for line in terminal.splitlines() if "prior queries" in line]
    assert [line.split()[2:] for line in lines] == [["0", "0"], ["51,200"]]


def test_the_terminal_shows_every_number_in_a_narrow_window(row, capsys):
    print_rows([row, row, row], Console(width=80))
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 80
    cells = [line.split("  ") for line in lines if "final accuracy (%)" in line]
    assert [sum("81.00 ± 12.71" in cell for cell in line) for line in cells] == [2, 1]
    print_rows([row, row, row], Console(width=120))
    wide = next(line for line in capsys.readouterr().out.splitlines() if "final accuracy (%)" in line)
    assert wide.count("81.00 ± 12.71") == 3
