from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from motedet.data.scale_match import (
    ScaleLimits,
    SizeHistogram,
    choose_scale,
    draw_scale,
    fitted_size,
    mean_size,
)
from motedet.data.scale_match.scaling import scaled_size

PLAIN = ScaleLimits(plus_one=False)


def boxes(*rows: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def counted(*values: float) -> tuple[Callable[[], float], list[float]]:
    """The values one after the other, and a list of those that were taken."""
    rest, taken = iter(values), list[float]()

    def take() -> float:
        taken.append(next(rest))
        return taken[-1]

    return take, taken


def test_mean_is_geometric_and_may_have_the_extra_pixel() -> None:
    found = boxes((0, 0, 1, 4), (5, 5, 13, 13), (9, 9, 9, 12))
    assert mean_size(found, plus_one=False) == pytest.approx(4)
    expected = (np.sqrt(2 * 5) * 9 * np.sqrt(1 * 4)) ** (1 / 3)
    assert mean_size(found, plus_one=True) == pytest.approx(expected)


def test_mean_of_nothing() -> None:
    assert mean_size(boxes(), plus_one=True) is None
    assert mean_size(boxes((3, 3, 3, 9), (5, 5, 1, 1)), plus_one=False) is None


def test_sizes_round_half_to_even() -> None:
    assert scaled_size((5, 7), 0.5) == (2, 4)
    assert scaled_size((10, 3), 0.01) == (0, 0)


def test_keeping_the_shape_may_cost_a_pixel() -> None:
    assert fitted_size((97, 131), (58, 79), keep_ratio=True) == (58, 78)
    assert fitted_size((97, 131), (58, 79), keep_ratio=False) == (58, 79)
    assert fitted_size((97, 131), (0, 0), keep_ratio=True) == (1, 1)
    assert fitted_size((97, 131), (0, 3), keep_ratio=False) == (1, 3)


@pytest.mark.parametrize(
    ("wanted", "clip", "default"),
    [(0.5, 0.5, 0.5), (1.0, 1.0, 0.25), (7.0, 1.0, 0.25), (0.1, 0.1, 0.25), (-3.0, 0.1, 0.25)],
)
def test_factors_out_of_range(wanted: float, clip: float, default: float) -> None:
    assert ScaleLimits().settle(wanted) == clip
    assert ScaleLimits(out_of_range="default").settle(wanted) == default


def test_draws_stop_at_the_first_factor_in_range() -> None:
    histogram = SizeHistogram(np.array([1.0, 2.0, 40.0]), np.array([0.5, 0.5]))
    uniform, taken = counted(0.9, 1.0, 0.2, 0.0, 0.3, 0.3)
    assert draw_scale(histogram, 5.0, uniform=uniform, limits=PLAIN, max_tries=5) == pytest.approx(
        0.2
    )
    assert taken == [0.9, 1.0, 0.2, 0.0]


def test_the_last_draw_counts_when_none_is_in_range() -> None:
    histogram = SizeHistogram(np.array([1.0, 2.0, 40.0]), np.array([0.5, 0.5]))
    uniform, taken = counted(0.9, 1.0, 0.9, 0.5, 0.2, 0.0)
    assert draw_scale(histogram, 5.0, uniform=uniform, limits=PLAIN, max_tries=2) == pytest.approx(
        4.2
    )
    assert len(taken) == 4


def test_an_image_gets_the_factor_of_its_mean() -> None:
    found = choose_scale(boxes((0, 0, 10, 10)), (40, 60), lambda mean: 5 / mean, PLAIN)
    assert (found.size, found.outcome) == ((20, 30), "matched")
    assert found.wanted == pytest.approx(0.5)
    found = choose_scale(boxes((0, 0, 10, 10)), (40, 60), lambda mean: 50 / mean, PLAIN)
    assert (found.size, found.outcome) == ((40, 60), "out of range")
    assert found.wanted == pytest.approx(5)


def test_images_without_objects_and_those_that_would_lose_all() -> None:
    found = choose_scale(boxes(), (40, 60), lambda _: 0.5, PLAIN)
    assert (found.size, found.wanted, found.outcome) == ((10, 15), None, "no objects")
    found = choose_scale(boxes((0, 0, 4, 4)), (40, 60), lambda _: 0.2, PLAIN)
    assert (found.size, found.wanted, found.outcome) == ((10, 15), 0.2, "vanished")
    kept = ScaleLimits(min_side=0.5)
    assert choose_scale(boxes((0, 0, 4, 4)), (40, 60), lambda _: 0.2, kept).outcome == "matched"


def test_bad_values() -> None:
    with pytest.raises(ValueError, match=r"scale_range must be 0 <= low < high; got \(1, 0.5\)"):
        ScaleLimits(scale_range=(1, 0.5))
    with pytest.raises(ValueError, match="default_scale must be positive; got 0"):
        ScaleLimits(default_scale=0)
    with pytest.raises(ValueError, match="min_side must not be negative; got -1"):
        ScaleLimits(min_side=-1)
