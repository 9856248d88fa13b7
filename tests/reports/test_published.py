import pytest

from lightning_extract.errors import InputError
from lightning_extract.reports.published import read_published

HEADER = "experiment,metric,value,source\n"


@pytest.fixture
def read(tmp_path):
    """Reads a text as a file of published values."""

    def read_text(text, encoding="utf-8"):
        (tmp_path / "published.csv").write_text(text, encoding=encoding)
        return read_published(tmp_path / "published.csv")

    return read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # spreadsheets begin with a mark
def test_values_by_experiment(read, encoding):
    lines = 'a,final_agreement,81.57,"ActiveThief, Table 3"\n\nb,final_accuracy,70,ours\na,victim_accuracy,95.5,x\n'
    found = read(HEADER + lines, encoding)
    assert list(map(str, found["a"])) == ["agreement 81.57 (ActiveThief, Table 3)", "victim accuracy 95.50 (x)"]
    assert (found["b"][0].metric, found["b"][0].value) == ("final_accuracy", 70)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must begin with the line experiment,metric,value,source"),
        ("experiment,value\n", "must begin with the line"),
        (HEADER + "a,final_agreement,81.5\n", "line 2 of .* is wrong"),
        (HEADER + "a,final_agreement,high,x\n", "line 2 .*high"),
        (HEADER + "a,f1,81.5,x\n", 'line 2 .* has metric "f1"; give victim_accuracy, final_accuracy'),
        (HEADER + "a,final_agreement,0.815,x\n", "value 0.815; give percent"),
        (HEADER + "a,final_agreement,nan,x\n", "value nan"),
        (HEADER + "a,final_agreement,80,x\na,final_agreement,81,y\n", "line 3 .* final_agreement of a again"),
    ],
)
def test_a_broken_file_is_refused(read, text, reason):
    with pytest.raises(InputError, match=reason):
        read(text)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.csv cannot be read"):
        read_published(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.csv cannot be read"):
        read_published(tmp_path / "binary.csv")
