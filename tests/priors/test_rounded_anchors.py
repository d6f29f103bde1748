"""Anchors of whole pixels: known values, the grid, bad values."""

import pytest
import torch

from motedet.priors.rounded_anchors import RoundedAnchors


def test_known_boxes() -> None:
    """Of TinyDet-S at stride 8, whose published numbers count the last pixel."""
    assert RoundedAnchors().base_boxes(8) == ((-9, -2, 17, 10), (-5, -5, 13, 13), (-2, -9, 10, 17))


def test_halves_are_rounded_to_even() -> None:
    """A square of 4 px around pixel 0 (stride 1) would go from -1.5 to 1.5."""
    anchors = RoundedAnchors(strides=(1,), ratios=(1.0,), scales=(4.0,))
    assert anchors.base_boxes(1) == ((-2, -2, 3, 3),)


def test_order_within_a_cell() -> None:
    anchors = RoundedAnchors(strides=(8,), ratios=(1.0, 4.0), scales=(1.0, 2.0))
    sides = [(x2 - x1, y2 - y1) for x1, y1, x2, y2 in anchors.base_boxes(8)]
    assert sides == [(8, 8), (16, 16), (4, 16), (8, 32)]
    assert anchors.per_cell == 4


@pytest.mark.parametrize("sizes", [((0, 0), (0, 0)), ((3, 4), (2, 1))], ids=["empty", "some"])
def test_grid(sizes: tuple[tuple[int, int], ...]) -> None:
    anchors = RoundedAnchors(strides=(8, 16))
    grid = anchors(sizes)
    assert grid.num_priors == 3 * sum(h * w for h, w in sizes)
    assert grid is anchors(sizes)
    boxes = grid.boxes()
    assert torch.equal(boxes, boxes.round())
    if grid.num_priors:
        shift = boxes[3 * (4 + 2)] - boxes[0]  # row 1, column 2
        assert shift.tolist() == [16, 8, 16, 8]
        assert grid.points()[3 * 12].tolist() == [8, 8]  # the middle of the cell


def test_squares_cover_their_cell_evenly() -> None:
    (box,) = RoundedAnchors(strides=(16,), ratios=(1.0,), scales=(2.0,)).base_boxes(16)
    assert box == (-8, -8, 24, 24)


def test_bad_values() -> None:
    with pytest.raises(ValueError, match=r"strides must be positive; got \(\)"):
        RoundedAnchors(strides=())
    with pytest.raises(ValueError, match="ratios must be positive"):
        RoundedAnchors(ratios=(1.0, 0.0))
    with pytest.raises(ValueError, match="scales must be positive"):
        RoundedAnchors(scales=(-2.0,))


def test_other_number_of_levels() -> None:
    with pytest.raises(ValueError, match="do not fit 1 feature maps"):
        RoundedAnchors()([(2, 2)])
