import numpy as np
import pytest

from motedet.data.scale_match import MonotoneMap, SizeBins, SizeHistogram
from motedet.data.scale_match.monotone import FlatBins


def line(
    source: list[float], target: list[float], *, log: bool = False, flat: FlatBins = "end"
) -> MonotoneMap:
    return MonotoneMap(source=np.array(source), target=np.array(target), log=log, flat=flat)


def test_edges_are_those_of_equal_share() -> None:
    histogram = SizeHistogram(np.array([2.0, 4.0, 10.0]), np.array([0.5, 0.5]))
    found = MonotoneMap.between(np.array([40.0, 10.0, 30.0, 20.0]), histogram)
    assert found.source.tolist() == [10, 30, 40]
    assert found.target.tolist() == [2, 4, 10]
    assert found(20) == 3
    assert found(35) == 7


def test_a_single_source_object() -> None:
    histogram = SizeHistogram(np.array([2.0, 4.0, 10.0]), np.array([0.5, 0.5]))
    found = MonotoneMap.between(np.array([7.0]), histogram)
    assert found.source.tolist() == [7, 7, 7]
    assert found(7) == 4
    assert np.isfinite([found(1), found(100)]).all()


def test_both_ends_go_on() -> None:
    found = line([10, 20, 30], [1, 2, 6])
    assert found(5) == 0.5
    assert found(40) == 10
    assert found(-20) == -2


def test_logarithms_are_interpolated() -> None:
    assert line([1, 4], [2, 8], log=True)(2) == pytest.approx(4)


@pytest.mark.parametrize("log", [False, True], ids=["pixels", "logarithms"])
def test_bins_without_width(*, log: bool) -> None:
    ends = line([5, 5, 9, 9], [1, 2, 3, 4], log=log)
    assert [ends(size) for size in (3, 5, 20)] == pytest.approx([2, 2, 4])
    limits = line([5, 5, 9, 9], [1, 2, 3, 4], log=log, flat="limit")
    assert limits(3) == (0 if log else -np.inf)
    assert [limits(size) for size in (5, 20)] == pytest.approx([2, 4])


def test_order_stays_and_the_distribution_becomes_the_targets() -> None:
    rng = np.random.default_rng(0)
    source, target = rng.lognormal(4, 0.8, 3000), rng.lognormal(2, 0.4, 2000)
    found = MonotoneMap.between(source, SizeBins()(target))
    mapped = np.array([found(size) for size in np.sort(source).tolist()])
    assert (np.diff(mapped) >= 0).all()
    shares = [0.1, 0.5, 0.9]
    np.testing.assert_allclose(np.quantile(mapped, shares), np.quantile(target, shares), rtol=0.03)
