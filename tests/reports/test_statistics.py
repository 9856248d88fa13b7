import math

import numpy as np
import pytest

from lightning_extract.errors import InputError
from lightning_extract.reports.metrics_table import Curve
from lightning_extract.reports.statistics import Estimate, estimate, mean_curve


def curve(*columns):
    return Curve(*(np.array(column, dtype=float) for column in columns))


def test_two_seeds_by_hand():
    # One degree of freedom is Cauchy's distribution: its 97.5 % quantile is tan(0.475 pi) = 12.7062.
    # The deviation is 0.02 / sqrt(2), over sqrt(2) seeds: 0.01.
    result = estimate([0.90, 0.92])
    assert result is not None
    assert result.half_width is not None
    assert result.mean == pytest.approx(0.91)
    assert result.half_width == pytest.approx(math.tan(0.475 * math.pi) * 0.01)
    assert result.half_width == pytest.approx(0.127062, abs=1e-6)


def test_three_and_five_seeds_by_hand():
    # Two degrees of freedom: t = 4.302653; 1, 2, 3 deviate by 1.
    three = estimate([1, 2, 3])
    assert three is not None
    assert three.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    # Four: t = 2.776445; 1 to 5 deviate by sqrt(2.5).
    five = estimate([1, 2, 3, 4, 5])
    assert five is not None
    assert five.half_width == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)


def test_one_seed_has_no_interval_and_none_has_no_estimate():
    assert estimate([0.5]) == Estimate(0.5, None, 1)
    assert estimate([None, 0.5]) == Estimate(0.5, None, 1)
    assert estimate([None]) is None


def test_a_mean_curve_interpolates_in_the_common_range():
    mean = mean_curve([curve([0, 10, 30], [0, 1, 3]), curve([5, 20, 40], [1, 4, 8])])
    np.testing.assert_array_equal(mean.queries, [5, 10, 20, 30])
    # First seed: queries / 10. Second: 1 at 5, 4 at 20, 8 at 40, straight between.
    np.testing.assert_allclose(mean.means, [(0.5 + 1) / 2, (1 + 2) / 2, (2 + 4) / 2, (3 + 6) / 2])
    np.testing.assert_allclose(mean.half_widths, 12.7062047 * np.array([0.25, 0.5, 1.0, 1.5]))


def test_a_mean_curve_follows_iterations_where_queries_stand_still():
    # Both spend 100 queries an iteration up to 300 and train on; the second was evaluated less often.
    first = curve([100, 200, 300, 300, 300], [1, 2, 3, 5, 9], [1, 2, 3, 4, 6])
    second = curve([100, 300, 300], [3, 5, 8], [1, 3, 6])
    mean = mean_curve([first, second])
    np.testing.assert_array_equal(mean.queries, [100, 200, 300, 300, 300])
    np.testing.assert_allclose(mean.means, [2, 3, 4, 5.5, 8.5])  # the second at 2, 4: 4, 6
    np.testing.assert_allclose(mean.half_widths, 12.7062047 * np.array([1, 1, 1, 0.5, 0.5]))


def test_seeds_without_iterations_are_averaged_by_queries():
    mean = mean_curve([curve([0, 100, 200], [0, 1, 2]), curve([0, 200, 200], [0, 4, 6], [0, 2, 5])])
    np.testing.assert_array_equal(mean.queries, [0, 100, 200])
    np.testing.assert_allclose(mean.means, [0, 1.5, 4])  # at 200 the second counts with its last value


def test_counts_hold_until_they_grow():
    mean = mean_curve([curve([0, 10, 30], [0, 4, 6]), curve([0, 20, 30], [0, 8, 8])], steps=True)
    np.testing.assert_array_equal(mean.queries, [0, 10, 20, 30])
    np.testing.assert_array_equal(mean.means, [0, 2, 6, 7])


def test_one_seed_stays_as_it_is():
    mean = mean_curve([curve([1, 2, 2], [3, 4, 5], [7, 8, 9])])
    np.testing.assert_array_equal(mean.queries, [1, 2, 2])
    np.testing.assert_array_equal(mean.means, [3, 4, 5])
    assert mean.half_widths is None


def test_seeds_without_a_common_range_are_refused():
    with pytest.raises(InputError, match=r"no queries.*begins at 3, another ends at 2"):
        mean_curve([curve([1, 2], [0, 0]), curve([3, 4], [0, 0])])
    with pytest.raises(InputError, match=r"no iterations.*begins at 7, another ends at 6"):
        mean_curve([curve([1, 2], [0, 0], [5, 6]), curve([1, 2], [0, 0], [7, 8])])


def test_estimates_are_written_in_percent():
    both, single = estimate([0.80, 0.82]), estimate([0.5, None])
    assert both is not None
    assert single is not None
    assert (both.percent(), both.percent(seeds=2), both.percent(seeds=3)) == (
        "81.00 ± 12.71",
        "81.00 ± 12.71",
        "81.00 ± 12.71 (n = 2)",
    )
    assert single.percent() == "50.00"
