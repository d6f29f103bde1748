import pytest

from motedet.priors import Points


@pytest.mark.parametrize(("offset", "want"), [(0.0, [8.0, 0.0]), (0.5, [12.0, 4.0])])
def test_place_in_the_cell(offset: float, want: list[float]) -> None:
    grid = Points(strides=(8,), offset=offset)([(1, 2)])
    assert grid.points()[1].tolist() == want
    assert grid.boxes()[1].tolist() == want * 2  # a point is its own box


@pytest.mark.parametrize("strides", [(), (8, -8)])
def test_no_strides(strides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="strides must be positive; got"):
        Points(strides=strides)
