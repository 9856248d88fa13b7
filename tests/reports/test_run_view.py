import pytest

from lightning_extract.reports.run_view import show_run


@pytest.fixture
def shown(make_run, capsys, monkeypatch):
    """What a person sees of a run, whose summary a test changes, line by line."""

    def show(**changes):
        monkeypatch.setenv("COLUMNS", "100")
        folder = make_run(summary=changes)
        show_run(folder)
        assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
        return capsys.readouterr().out.splitlines()

    return show


def row(lines, label):
    """The cells of a table's row."""
    (line,) = [line for line in lines if line.startswith(f"│ {label} ")]
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_a_plain_run(shown):
    lines = shown()
    assert row(lines, "victim") == ["", "", "95.00 %"]
    assert row(lines, "final") == ["1,000", "85.00 %", "80.00 %"]
    assert row(lines, "best on held-out answers")[0] == "400"
    assert any(line.startswith("queries: 1,000 of 1,000 (generator 400, clone 600)") for line in lines)
    assert not [line for line in lines if "classes found" in line or "start:" in line or "averaged" in line]


def test_classes_found_are_told(shown):
    lines = shown(**{"class_discovery": [[256, 9], [900, 43]], "victim.num_classes": 43})
    assert "classes found: 43 of 43, the last after 900 queries" in lines


def test_the_start_is_told_with_its_price(shown):
    lines = shown(start_from=[{"run": "runs/x/seed_[0]", "queries": 51200}])
    assert "start: clones of runs/x/seed_[0] (51,200 queries), not counted in this budget" in lines


def test_two_starts_are_told(shown):
    lines = shown(start_from=[{"run": "runs/x", "queries": 51200}, {"run": "runs/y", "queries": 100}])
    assert "start: clones of runs/x (51,200 queries) and runs/y (100 queries), not counted in this budget" in lines


def test_averaged_weights_have_a_line(shown):
    lines = shown(**{"final.accuracy_averaged": 0.77, "final.agreement_averaged": 0.78})
    assert row(lines, "averaged weights") == ["1,000", "78.00 %", "77.00 %"]
    assert lines.index(next(line for line in lines if "averaged" in line)) == 1 + lines.index(
        next(line for line in lines if line.startswith("│ final"))
    )


def test_labels_are_drawn_where_they_are_told(make_run, capsys):
    told, old = make_run(seed=0, summary={"label_counts": [700, 300], "classes": None}), make_run(seed=1)
    for folder in (told, old):
        show_run(folder)
    assert (told / "labels.png").read_bytes().startswith(b"\x89PNG")
    assert not (old / "labels.png").exists()
