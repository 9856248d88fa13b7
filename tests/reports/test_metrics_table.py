import numpy as np
import pytest

from lightning_extract.errors import InputError
from lightning_extract.reports.metrics_table import read_metrics


@pytest.fixture
def table(tmp_path):
    """Reads a text as a metrics file."""

    def read(text):
        (tmp_path / "metrics.csv").write_text(text)
        return read_metrics(tmp_path / "metrics.csv")

    return read


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "header"),
        ("queries,accuracy\n", "header"),
        ("step,accuracy\n1,0.5\n", "header"),
        ("queries,accuracy\n5,0.5\n5,0.6\n", "line 3.*queries 5 after 5 do not increase"),
        ("queries,accuracy\n5,0.5\n4,0.6\n", "line 3.*do not increase"),
        ("queries,accuracy\n2.5,0.5\n", "line 2"),
        ("queries,accuracy\n-1,0.5\n", "line 2"),
        ("queries,accuracy\n5,half\n", "line 2"),
        ("queries,accuracy\n5\n", "line 2"),
        ("queries,accuracy\n,0.5\n", "line 2"),
        ("queries,iteration,accuracy\n5,1,0.5\n5,1,0.6\n", "line 3.*iteration 1 after 1 do not increase"),
        ("queries,iteration,accuracy\n5,1,0.5\n4,2,0.6\n", "line 3.*queries 4 after 5 do not increase"),
        ("queries,iteration,accuracy\n-1,1,0.5\n", "line 2.*queries -1"),
        ("queries,iteration,accuracy\n5,,0.5\n", "line 2"),
        ("queries,iteration,accuracy\n5,1.5,0.5\n", "line 2.*iteration 1.5"),
    ],
)
def test_broken_metrics_are_refused(table, text, reason):
    with pytest.raises(InputError, match=reason):
        table(text)


def test_rows_may_share_their_queries_where_iterations_number_them(table):
    curves = table("queries,iteration,accuracy,kl\n0,0,0.1,\n400,2,0.5,1.5\n400,7,0.6,0.5\n")
    assert curves.keys() == {"accuracy", "kl"}
    np.testing.assert_array_equal(curves["accuracy"], [[0, 400, 400], [0.1, 0.5, 0.6], [0, 2, 7]])
    np.testing.assert_array_equal(curves["kl"], [[400, 400], [1.5, 0.5], [2, 7]])


def test_old_tables_without_iterations_are_read(table):
    curve = table("queries,accuracy\n38400.0,0.5\n2e7,0.9\n")["accuracy"]
    np.testing.assert_array_equal(curve.queries, [38_400, 20_000_000])
    np.testing.assert_array_equal(curve.values, [0.5, 0.9])
    assert curve.iterations is None
