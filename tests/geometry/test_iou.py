"""Overlap of boxes."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motedet.errors import ShapeError
from motedet.geometry import (
    aligned_ciou,
    aligned_diou,
    aligned_giou,
    aligned_intersection,
    aligned_iof,
    aligned_iou,
    hull_sides,
    pairwise_iof,
    pairwise_iou,
)

Overlap = Callable[[Tensor, Tensor], Tensor]
ALIGNED = [aligned_iou, aligned_iof, aligned_giou, aligned_diou, aligned_ciou]
SYMMETRIC = [aligned_iou, aligned_giou, aligned_diou]
SIGNED = [aligned_giou, aligned_diou, aligned_ciou]

INNER = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
OUTER = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
APART = torch.tensor([[6.0, 0.0, 8.0, 2.0]])


def draw_boxes(seed: int, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """[count, 4] boxes with sides of 1-21 px within 60 px."""
    uniform = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    top_left = uniform[:, :2] * 40
    return torch.cat((top_left, top_left + 1 + uniform[:, 2:] * 20), dim=1)


seeds = st.integers(0, 2**31)


def test_known_values() -> None:
    assert aligned_iou(INNER, OUTER).tolist() == [0.25]
    assert aligned_iof(INNER, OUTER).tolist() == [1]
    assert aligned_iof(OUTER, INNER).tolist() == [0.25]
    assert aligned_giou(INNER, OUTER).tolist() == [0.25]
    assert aligned_giou(INNER, APART).tolist() == [-0.5]  # hull 16, union 8
    assert aligned_diou(INNER, APART).item() == pytest.approx(-36 / 68)
    assert aligned_intersection(INNER, APART).tolist() == [0]
    assert [side.item() for side in hull_sides(INNER, APART)] == [8, 2]


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("function", ALIGNED)
def test_shape_and_finite(function: Overlap, count: int) -> None:
    overlap = function(draw_boxes(0, count), draw_boxes(1, count))
    assert overlap.shape == (count,)
    assert overlap.isfinite().all()


@pytest.mark.parametrize("function", ALIGNED)
def test_boxes_without_area_are_no_nan(function: Overlap) -> None:
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert function(point, point).isfinite().all()
    assert function(point, OUTER).isfinite().all()


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 3), (3, 0), (4, 6)])
@pytest.mark.parametrize(
    ("pairwise", "aligned"), [(pairwise_iou, aligned_iou), (pairwise_iof, aligned_iof)]
)
def test_pairwise_has_the_bits_of_aligned(
    pairwise: Overlap, aligned: Overlap, rows: int, columns: int
) -> None:
    boxes, others = draw_boxes(2, rows), draw_boxes(3, columns)
    table = pairwise(boxes, others)
    row = torch.arange(rows).repeat_interleave(columns)
    column = torch.arange(columns).repeat(rows)
    assert table.shape == (rows, columns)
    assert torch.equal(table.flatten(), aligned(boxes[row], others[column]))


@pytest.mark.parametrize("function", [pairwise_iou, pairwise_iof])
def test_bad_input(function: Overlap) -> None:
    with pytest.raises(ShapeError, match="boxes must be a float tensor"):
        function(torch.zeros(2, 5), OUTER)
    with pytest.raises(ShapeError, match="others must be a float tensor"):
        function(OUTER, torch.zeros(4))


@given(seed=seeds)
@settings(deadline=None, max_examples=25)
def test_range(seed: int) -> None:
    boxes, others = draw_boxes(seed, 20), draw_boxes(seed + 1, 20)
    iou = aligned_iou(boxes, others)
    assert ((iou >= 0) & (iou <= 1)).all()
    for function in SIGNED:
        overlap = function(boxes, others)
        assert (overlap.abs() <= 1).all()
        assert (overlap <= iou + 1e-6).all()


@given(seed=seeds)
@settings(deadline=None, max_examples=25)
def test_symmetry(seed: int) -> None:
    boxes, others = draw_boxes(seed, 20), draw_boxes(seed + 1, 20)
    for function in SYMMETRIC:
        assert torch.equal(function(boxes, others), function(others, boxes))


@given(seed=seeds, shift=st.integers(-1000, 1000), scale=st.sampled_from([0.5, 2.0, 8.0]))
@settings(deadline=None, max_examples=25)
def test_invariant_to_shift_and_scale(seed: int, shift: int, scale: float) -> None:
    boxes = draw_boxes(seed, 20, torch.float64)
    others = draw_boxes(seed + 1, 20, torch.float64)
    for function in ALIGNED:
        moved = function(boxes * scale + shift, others * scale + shift)
        torch.testing.assert_close(moved, function(boxes, others), rtol=0, atol=1e-5)


@pytest.mark.parametrize("function", ALIGNED)
def test_a_box_with_itself_scores_one(function: Overlap) -> None:
    boxes = draw_boxes(5, 50)
    torch.testing.assert_close(function(boxes, boxes), torch.ones(50), rtol=0, atol=2e-6)


@pytest.mark.parametrize("function", [aligned_iou, aligned_iof, aligned_giou, aligned_diou])
def test_gradient(function: Overlap) -> None:
    boxes = draw_boxes(6, 6, torch.float64).requires_grad_()
    others = draw_boxes(7, 6, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(function, (boxes, others))


def test_ciou_gradient_leaves_the_trade_off_alone() -> None:
    # alike in aspect: the aspect term vanishes to second order, and gradcheck sees DIoU's slope
    boxes = torch.tensor([[0.0, 0.0, 6.0, 3.0], [5.0, 5.0, 7.0, 9.0]], dtype=torch.float64)
    others = boxes + torch.tensor([1.0, 0.5, 1.0, 0.5], dtype=torch.float64)
    inputs = boxes.requires_grad_(), others
    assert torch.autograd.gradcheck(aligned_ciou, inputs, atol=1e-4)
    gradients = [torch.autograd.grad(f(*inputs).sum(), boxes)[0] for f in SIGNED[1:]]
    torch.testing.assert_close(gradients[0], gradients[1])
