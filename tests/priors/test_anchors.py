import math

import pytest

from motedet.priors import Anchors


def test_square_anchor_by_hand() -> None:
    anchors = Anchors(strides=(8,), ratios=(1.0,), scales=(2.0,))
    assert anchors.base_boxes(8) == ((-8.0, -8.0, 8.0, 8.0),)
    assert anchors([(2, 2)]).boxes()[3].tolist() == [0, 0, 16, 16]


def test_center_offset_moves_the_pattern() -> None:
    anchors = Anchors(strides=(8,), ratios=(1.0,), scales=(2.0,), center_offset=0.5)
    assert anchors.base_boxes(8) == ((-4.0, -4.0, 12.0, 12.0),)
    assert anchors([(1, 1)]).points().tolist() == [[4.0, 4.0]]


def test_octave_scales_keep_area_over_ratios() -> None:
    anchors = Anchors(octave_base_scale=4.0, scales_per_octave=3)
    assert anchors.per_cell == 9
    boxes = anchors.base_boxes(8)
    for place, (x1, y1, x2, y2) in enumerate(boxes):
        scale = 4 * 2 ** (place % 3 / 3)
        assert (x2 - x1) * (y2 - y1) == pytest.approx((8 * scale) ** 2, rel=1e-5)
        assert (y2 - y1) / (x2 - x1) == pytest.approx((0.5, 1, 2)[place // 3], rel=1e-5)


@pytest.mark.parametrize("scale_major", [True, False])
def test_order_in_the_cell(*, scale_major: bool) -> None:
    anchors = Anchors(scales=(1.0, 2.0), ratios=(1.0, 4.0), scale_major=scale_major)
    widths = [round(x2 - x1, 4) for x1, _, x2, _ in anchors.base_boxes(8)]
    assert widths == ([8, 16, 4, 8] if scale_major else [8, 4, 16, 8])


@pytest.mark.parametrize(
    "wrong",
    [
        {"strides": ()},
        {"strides": (8, 0)},
        {"ratios": (-1.0,)},
        {"scales": (0.0,)},
        {"octave_base_scale": -math.pi},
        {"scales_per_octave": 0},
    ],
    ids=str,
)
def test_anchors_without_area_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be positive; got"):
        Anchors(**wrong)  # type: ignore[arg-type]
