import numpy as np
import pytest

from lightning_extract.reports.canvas import new_figure
from lightning_extract.reports.marks import draw_stages, number_rounds
from lightning_extract.reports.metrics_table import Curve


@pytest.fixture
def axes():
    return new_figure().add_subplot()


def rounds(*queries):
    numbers = np.arange(len(queries), dtype=float)
    return Curve(np.array(queries, dtype=float), numbers, numbers)


def numbers_along_the_top(axes):
    """Place and text of each."""
    return [
        (float(place), label.get_text())
        for top in axes.child_axes
        for place, label in zip(top.get_xticks(), top.get_xticklabels(), strict=True)
    ]


def test_rounds_are_numbered_where_they_end(axes):
    number_rounds(axes, [rounds(300, 400, 500), rounds(300, 400), rounds(500)])
    assert numbers_along_the_top(axes) == [(300, "0"), (400, "1"), (500, "2")]


@pytest.mark.parametrize("curves", [[rounds(300, 400), rounds(300, 500)], [rounds(500)], []])
def test_rounds_without_common_places_are_not(axes, curves):
    number_rounds(axes, curves)
    assert numbers_along_the_top(axes) == []


def test_only_as_many_rounds_are_numbered_as_have_room(axes):
    number_rounds(axes, [rounds(*range(100, 200, 2))])
    # Three hundredths of 198 queries hold three steps of 2.
    assert [text for _, text in numbers_along_the_top(axes)] == [str(number) for number in range(0, 50, 3)]


def test_a_line_for_each_place_where_stages_begin(axes):
    queries, stages = [0, 0, 500, 500, 700, 900, 1000], [1, 1, 2, 3, 4, 4, 5]
    draw_stages(axes, Curve(np.array(queries, dtype=float), np.array(stages, dtype=float)))
    # The second stage began with nothing spent, the third and the fourth after 500, the last after 900.
    assert [line.get_xdata()[0] for line in axes.get_lines()] == [0, 500, 900]
    assert len(axes.get_legend_handles_labels()[1]) == 1
