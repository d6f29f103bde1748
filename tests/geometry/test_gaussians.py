"""Boxes compared as Gaussians."""

import math
from typing import cast, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motedet.errors import ShapeError
from motedet.geometry import (
    NWDMode,
    Similarity,
    aligned_similarity,
    kl_divergence,
    nwd_loss,
    pairwise_similarity,
    wasserstein,
)

METRICS: tuple[Similarity, ...] = get_args(Similarity)
MODES: tuple[NWDMode, ...] = get_args(NWDMode)
GAUSSIAN: tuple[Similarity, ...] = ("kl", "kl_10", "exp_kl", "wd", "nwd")


def draw_boxes(seed: int, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """[count, 4] boxes with sides of 1-21 px within 60 px."""
    uniform = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    top_left = uniform[:, :2] * 40
    return torch.cat((top_left, top_left + 1 + uniform[:, 2:] * 20), dim=1)


def test_kl_by_hand() -> None:
    gt = torch.tensor([[0.0, 0.0, 2.0, 4.0]], dtype=torch.float64)
    prior = torch.tensor([[1.0, 0.0, 5.0, 4.0]], dtype=torch.float64)
    # dx = -2, dy = 0, w1 = 2, h1 = 4, w2 = 4, h2 = 4
    by_hand = (4 + 1 + 4 + 0 + math.log(1 / 4) + 0 - 2) / 2
    assert kl_divergence(gt, prior).item() == pytest.approx(by_hand, abs=1e-4)


def test_kl_penalises_offsets_of_small_objects_more() -> None:
    prior = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    small, large = torch.tensor([[4.0, 4.0, 8.0, 8.0]]), torch.tensor([[-2.0, -2.0, 14.0, 14.0]])
    assert kl_divergence(small, prior) > kl_divergence(large, prior)


def test_wasserstein_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 4.0]])
    others = torch.tensor([[3.0, 4.0, 7.0, 8.0]])  # centres (1, 2) and (5, 6), sides 2x4 and 4x4
    assert wasserstein(boxes, others).item() == pytest.approx(16 + 16 + 1)
    nwd = aligned_similarity("nwd", boxes, others, nwd_constant=4.0)
    assert nwd.item() == pytest.approx(math.exp(-math.sqrt(33) / 4))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 3), (3, 0), (4, 6)])
def test_shape_and_finite(metric: Similarity, rows: int, columns: int) -> None:
    table = pairwise_similarity(metric, draw_boxes(0, rows), draw_boxes(1, columns))
    assert table.shape == (rows, columns)
    assert table.isfinite().all()


@pytest.mark.parametrize("metric", METRICS)
def test_boxes_without_area_are_finite(metric: Similarity) -> None:
    gt = torch.tensor([[3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 4.0, 0.0]])
    prior = torch.tensor([[0.0, 0.0, 17.5, 17.5], [3.0, 3.0, 3.0, 3.0]])
    assert pairwise_similarity(metric, gt, prior).isfinite().all()


def test_bad_input() -> None:
    boxes = draw_boxes(0, 2)
    with pytest.raises(ShapeError, match="gt_boxes must be a float tensor"):
        pairwise_similarity("kl", boxes[0], boxes)
    with pytest.raises(ValueError, match="unknown similarity 'cosine'; use one of"):
        aligned_similarity(cast("Similarity", "cosine"), boxes, boxes)
    with pytest.raises(ValueError, match="unknown NWD loss mode 'cube'; use one of"):
        nwd_loss(boxes, boxes, mode=cast("NWDMode", "cube"))


@given(seed=st.integers(0, 2**31), shift=st.integers(-1000, 1000))
@settings(deadline=None, max_examples=25)
def test_range_and_shift(seed: int, shift: int) -> None:
    gt, prior = draw_boxes(seed, 20, torch.float64), draw_boxes(seed + 1, 20, torch.float64)
    for metric in GAUSSIAN:
        similarity = aligned_similarity(metric, gt, prior)
        assert ((similarity >= 0) & (similarity <= 1)).all()
        torch.testing.assert_close(
            aligned_similarity(metric, gt + shift, prior + shift), similarity
        )


@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=25)
def test_nothing_is_more_similar_than_the_box_itself(seed: int) -> None:
    gt, prior = draw_boxes(seed, 20), draw_boxes(seed + 1, 20)
    for metric in METRICS:
        itself = aligned_similarity(metric, gt, gt)
        assert (aligned_similarity(metric, gt, prior) <= itself + 1e-6).all()
    same = aligned_similarity("kl", gt, gt)
    torch.testing.assert_close(same, torch.ones(20), rtol=0, atol=1e-6)


@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=25)
def test_wasserstein_is_symmetric(seed: int) -> None:
    boxes, others = draw_boxes(seed, 20), draw_boxes(seed + 1, 20)
    assert torch.equal(wasserstein(boxes, others), wasserstein(others, boxes))


@pytest.mark.parametrize("metric", METRICS)
def test_similarity_gradient(metric: Similarity) -> None:
    gt = draw_boxes(2, 5, torch.float64).requires_grad_()
    prior = draw_boxes(3, 5, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: aligned_similarity(metric, a, b), (gt, prior))


@pytest.mark.parametrize("mode", MODES)
def test_nwd_loss_gradient_and_minimum(mode: NWDMode) -> None:
    target = draw_boxes(4, 5, torch.float64)
    pred = (target + 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda boxes: nwd_loss(boxes, target, mode=mode), (pred,))
    assert (nwd_loss(target, target, mode=mode) < nwd_loss(pred, target, mode=mode)).all()
    assert (nwd_loss(target, target, mode=mode) < 1e-3).all()
