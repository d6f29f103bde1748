"""Boxes relative to their priors."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motedet.errors import ShapeError
from motedet.geometry import DeltaCoder, LTRBCoder, decode_ltrb, encode_ltrb

PRIOR = torch.tensor([[10.0, 10.0, 14.0, 18.0]])  # centre (12, 14), 4 x 8


def draw_boxes(seed: int, count: int) -> Tensor:
    """[count, 4] float64 boxes with sides of 1-21 px within 60 px."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    top_left = uniform[:, :2] * 40
    return torch.cat((top_left, top_left + 1 + uniform[:, 2:] * 20), dim=1)


def test_delta_by_hand() -> None:
    box = torch.tensor([[12.0, 10.0, 16.0, 26.0]])  # centre (14, 18), 4 x 16
    deltas = DeltaCoder().encode(PRIOR, box)
    torch.testing.assert_close(deltas, torch.tensor([[0.5, 0.5, 0.0, math.log(2)]]))
    coder = DeltaCoder(mean=(0.5, 0.0, 0.0, 0.0), std=(0.1, 0.1, 0.2, 0.2))
    expected = torch.tensor([[0.0, 5.0, 0.0, 5 * math.log(2)]])
    torch.testing.assert_close(coder.encode(PRIOR, box), expected)


def test_size_ratio_is_limited() -> None:
    wild = torch.tensor([[0.0, 0.0, 50.0, -50.0]])
    x1, y1, x2, y2 = DeltaCoder().decode(PRIOR, wild)[0].tolist()
    assert x2 - x1 == pytest.approx(4 * 62.5, rel=1e-5)
    assert y2 - y1 == pytest.approx(8 / 62.5, rel=1e-3)


def test_center_clamp_limits_the_shift_but_not_shrinking() -> None:
    wild = torch.tensor([[100.0, -100.0, 50.0, -50.0]])
    x1, y1, x2, y2 = DeltaCoder(ctr_clamp=32.0).decode(PRIOR, wild)[0].tolist()
    assert (x1 + x2) / 2 == pytest.approx(12 + 32)
    assert (y1 + y2) / 2 == pytest.approx(14 - 32)
    assert y2 - y1 == 0


@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=25)
def test_round_trip(seed: int) -> None:
    priors, boxes = draw_boxes(seed, 10), draw_boxes(seed + 1, 10)
    delta = DeltaCoder(mean=(0.1, 0.2, 0.3, 0.4), std=(0.1, 0.1, 0.2, 0.2))
    torch.testing.assert_close(delta.decode(priors, delta.encode(priors, boxes)), boxes)
    points = priors[:, :2]
    torch.testing.assert_close(decode_ltrb(points, encode_ltrb(points, boxes)), boxes)


def test_deltas_per_class_are_decoded_class_by_class() -> None:
    priors = draw_boxes(0, 5)
    deltas = torch.randn(5, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    coder = DeltaCoder(std=(0.1, 0.1, 0.2, 0.2))
    decoded = coder.decode(priors, deltas, (30, 40))
    each = [coder.decode(priors, deltas[:, 4 * k : 4 * k + 4], (30, 40)) for k in range(3)]
    assert torch.equal(decoded, torch.cat(each, dim=1))


def test_clipping_takes_height_before_width() -> None:
    boxes = DeltaCoder().decode(PRIOR, torch.tensor([[0.0, 0.0, 4.0, 4.0]]), (30, 40))
    assert boxes.tolist() == [[0, 0, 40, 30]]
    ltrb = torch.full((1, 4), 99.0)
    assert decode_ltrb(torch.tensor([[5.0, 6.0]]), ltrb, (30, 40)).tolist() == [[0, 0, 40, 30]]


def test_ltrb_by_hand() -> None:
    points = torch.tensor([[11.0, 20.0]])
    assert encode_ltrb(points, PRIOR).tolist() == [[1, 10, 3, -2]]
    limited = LTRBCoder(max_dis=5.0).encode(points, PRIOR)
    torch.testing.assert_close(limited, torch.tensor([[1.0, 4.9, 3.0, 0.0]]))


def test_empty() -> None:
    none = torch.zeros(0, 4)
    assert DeltaCoder().encode(none, none).shape == (0, 4)
    assert DeltaCoder().decode(none, none, (8, 8)).shape == (0, 4)
    assert DeltaCoder().decode(none, torch.zeros(0, 12)).shape == (0, 12)
    assert LTRBCoder().encode(torch.zeros(0, 2), none).shape == (0, 4)
    assert LTRBCoder().decode(torch.zeros(0, 2), none).shape == (0, 4)


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match=r"deltas must be \[N, 4 \* K\]; got \[1, 5\]"):
        DeltaCoder().decode(PRIOR, torch.zeros(1, 5))
    with pytest.raises(ValueError, match="std must be positive"):
        DeltaCoder(std=(1.0, 1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="ctr_clamp must be positive; got -1"):
        DeltaCoder(ctr_clamp=-1.0)
    with pytest.raises(ValueError, match=r"max_dis must be above 0\.1; got 0"):
        LTRBCoder(max_dis=0.0)


def test_gradient() -> None:
    priors = draw_boxes(2, 4)
    deltas = draw_boxes(3, 4).mul(0.02).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: DeltaCoder().decode(priors, d), (deltas,))
    boxes = draw_boxes(4, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda b: DeltaCoder().encode(priors, b), (boxes,))
