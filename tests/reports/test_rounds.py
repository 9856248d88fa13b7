import numpy as np
import pytest

from lightning_extract.reports.metrics_table import Curve, read_metrics
from lightning_extract.reports.rounds import at_round_ends

# The loss of round 1 stands in an earlier row than its end, round 2 has none, and round 3 has not ended.
TABLE = """queries,iteration,agreement,clone_loss,round,round_end,validation_f1
300,4,0.10,2.0,0,0,
300,9,0.20,1.5,0,1,0.3
400,12,0.90,1.0,1,0,0.9
400,15,0.40,,1,1,0.5
500,21,0.50,,2,1,0.6
600,24,0.99,0.1,3,0,0.7
"""


@pytest.fixture
def curves(tmp_path):
    (tmp_path / "metrics.csv").write_text(TABLE)
    return read_metrics(tmp_path / "metrics.csv")


def test_rounds_stand_for_iterations_and_the_last_value_for_the_round(curves):
    reached = at_round_ends(curves)
    assert reached.keys() == {"agreement", "clone_loss", "round", "validation_f1"}
    np.testing.assert_array_equal(reached["agreement"], [[300, 400, 500], [0.2, 0.4, 0.5], [0, 1, 2]])
    np.testing.assert_array_equal(reached["clone_loss"], [[300, 400], [1.5, 1.0], [0, 1]])
    np.testing.assert_array_equal(reached["validation_f1"], [[300, 400, 500], [0.3, 0.5, 0.6], [0, 1, 2]])


def test_other_attacks_keep_their_curves(curves):
    del curves["round_end"]
    assert at_round_ends(curves) is curves


def test_an_exact_history_is_kept(curves):
    history = Curve(np.array([0.0, 70.0]), np.array([0.0, 8.0]))
    assert at_round_ends(curves | {"classes_found": history})["classes_found"] is history


def test_nothing_is_reached_before_a_round_has_ended(curves):
    ends = curves["round_end"]
    curves["round_end"] = ends._replace(values=0 * ends.values)
    assert at_round_ends(curves) == {}
