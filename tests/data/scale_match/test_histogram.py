from collections.abc import Callable

import numpy as np
import pytest

from motedet.data.scale_match import SizeBins, SizeHistogram, gaussian_histogram
from motedet.errors import DataError


def given(*values: float) -> Callable[[], float]:
    """The values, one after the other."""
    rest = iter(values)
    return lambda: next(rest)


def test_tails_get_one_bin_each() -> None:
    histogram = SizeBins(bins=4, except_rate=0.2)(np.arange(1.0, 11.0))
    assert histogram.edges.tolist() == [1, 2, 5.5, 9, 10]
    assert histogram.prob.tolist() == [0.1, 0.4, 0.4, 0.1]
    assert histogram.cumulative.tolist() == pytest.approx([0.1, 0.5, 0.9, 1.0])


def test_by_default_a_bin_has_one_over_bins() -> None:
    assert SizeBins(bins=50).tails == 0.04
    assert SizeBins(bins=50, except_rate=0.1).tails == 0.1


def test_without_tails_bins_are_equal() -> None:
    histogram = SizeBins(bins=2, except_rate=0)(np.array([3.0, 1.0, 5.0]))
    assert histogram.edges.tolist() == [1, 3, 5]
    assert histogram.prob.tolist() == pytest.approx([1 / 3, 2 / 3])


def test_log_bins_have_edges_of_equal_ratio() -> None:
    histogram = SizeBins(bins=3, except_rate=0, log=True)(np.array([1.0, 8.0]))
    np.testing.assert_allclose(histogram.edges, [1, 2, 4, 8])


def test_sizes_are_brought_to_a_mean_and_a_deviation() -> None:
    sizes = np.array([1.0, 2.0, 3.0])
    bins = SizeBins(bins=1, except_rate=0, mu_sigma=(10.0, np.sqrt(2 / 3)))
    np.testing.assert_allclose(bins(sizes).edges, [9, 11])
    small = SizeBins(bins=1, except_rate=0, mu_sigma=(1.0, 5.0))(sizes)
    assert small.edges[0] == 1
    equal = SizeBins(bins=1, except_rate=0, mu_sigma=(7.0, 2.0))(np.full(3, 4.0))
    assert equal.edges.tolist() == [6.5, 7.5]


@pytest.mark.parametrize("count", [1, 2, 3], ids=lambda n: f"{n} objects")
def test_few_objects_make_a_usable_histogram(count: int) -> None:
    histogram = SizeBins()(np.linspace(4, 6, count))
    assert histogram.prob.sum() == pytest.approx(1)
    assert histogram.draw(given(0.999999, 0.5)) == pytest.approx(5, abs=1.5)


def test_a_draw_takes_the_bin_first() -> None:
    histogram = SizeHistogram(np.array([2.0, 4.0, 10.0]), np.array([0.5, 0.5]))
    assert histogram.draw(given(0.5, 0.25)) == 2.5  # 0.5 belongs to the first bin
    assert histogram.draw(given(0.6, 0.25)) == 5.5
    assert histogram.draw(given(0.0, 0.0)) == 2


def test_draws_follow_the_distribution() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.lognormal(2.0, 0.5, 5000)
    histogram = SizeBins()(sizes)
    drawn = [histogram.draw(rng.random) for _ in range(5000)]
    np.testing.assert_allclose(
        np.quantile(drawn, [0.1, 0.5, 0.9]), np.quantile(sizes, [0.1, 0.5, 0.9]), rtol=0.05
    )


def test_gaussian_bins_hold_equal_shares() -> None:
    histogram = gaussian_histogram(10, mu=2.0, sigma=0.5)
    np.testing.assert_allclose(histogram.prob, 0.1)
    assert histogram.edges[5] == pytest.approx(np.exp(2.0), rel=1e-3)
    cut = gaussian_histogram(10, mu=2.0, sigma=0.5, min_log_size=2.0)
    assert cut.edges[0] > np.exp(2.0)


def test_gaussian_sample_is_taken_as_given() -> None:
    sample = np.array([1.0, -1.0, 0.0])
    histogram = gaussian_histogram(2, mu=0.0, sigma=1.0, standard_sample=sample)
    np.testing.assert_allclose(histogram.edges, np.exp([-1, 1, 1]))
    np.testing.assert_allclose(histogram.prob, [2 / 3, 1 / 3])


def test_bad_values() -> None:
    with pytest.raises(ValueError, match=r"bins must be at least 3, .*; got 2"):
        SizeBins(bins=2)
    with pytest.raises(ValueError, match="got 0"):
        SizeBins(bins=0, except_rate=0)
    with pytest.raises(ValueError, match=r"except_rate must be less than 1; got 1.5"):
        SizeBins(except_rate=1.5)
    with pytest.raises(ValueError, match=r"mu_sigma must be two positive numbers; got \(3, 0\)"):
        SizeBins(mu_sigma=(3, 0))
    with pytest.raises(DataError, match="at least one object; got none"):
        SizeBins()(np.zeros(0))
    with pytest.raises(DataError, match=r"got \[2\] edges and \[2\] shares"):
        SizeHistogram(np.zeros(2), np.zeros(2))
    with pytest.raises(DataError, match="3 values of a normal distribution do not fill 5 bins"):
        gaussian_histogram(5, mu=0, sigma=1, standard_sample=np.zeros(3))
