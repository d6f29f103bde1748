"""Focal loss towards a heat map."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motedet.errors import ShapeError
from motedet.losses import HeatmapFocalLoss


def formula(loss: HeatmapFocalLoss, logits: Tensor, heat: Tensor) -> Tensor:
    """The published lines, on whole tables."""
    probs = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    positive = -probs.log() * (1 - probs) ** 2
    negative = -(1 - probs).log() * probs**2 * (1 - heat) ** 4
    return loss.weight * torch.where(heat >= loss.thresh, positive, negative)


def draw(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits on both sides of the limits, and heat that is mostly 0."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * 5
    heat = torch.rand(shape, generator=generator, dtype=torch.float64)
    return logits, heat * (heat > 0.6)


def test_known_values() -> None:
    heat = torch.tensor([[0.0, 0.05, 0.1, 1.0]])
    quarter = 0.25 * math.log(2)  # at the probability of one half
    found = HeatmapFocalLoss()(torch.zeros(1, 4), heat)
    expected = torch.tensor([[quarter, quarter * 0.95**4, quarter, quarter]])
    torch.testing.assert_close(found, expected)
    assert HeatmapFocalLoss().num_pos(heat) == 2
    assert HeatmapFocalLoss(thresh=1.0).num_pos(heat) == 1
    assert HeatmapFocalLoss().num_pos(torch.zeros(0, 4)) == 0


@given(
    seed=st.integers(0, 2**31),
    num_classes=st.integers(1, 5),
    thresh=st.sampled_from([0.01, 0.1, 0.7, 1.0]),
)
@settings(deadline=None, max_examples=30)
def test_equals_the_formula(seed: int, num_classes: int, thresh: float) -> None:
    logits, heat = draw((2, 9, num_classes), seed)
    logits.requires_grad_()
    loss = HeatmapFocalLoss(thresh=thresh, weight=2.0)
    actual, expected = loss(logits, heat), formula(loss, logits, heat)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    upstream = torch.rand_like(heat)
    gradients = [torch.autograd.grad(x, logits, upstream)[0] for x in (actual, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 4)])
def test_shape_and_gradient(shape: tuple[int, int]) -> None:
    logits, heat = draw(shape)
    loss = HeatmapFocalLoss(thresh=0.7)
    assert loss(logits, heat).shape == shape
    assert torch.autograd.gradcheck(lambda x: loss(x, heat), (logits.requires_grad_(),))


def test_memory_layout_does_not_matter() -> None:
    logits, heat = draw((6, 4))
    turned = logits.T.contiguous().T
    assert not turned.is_contiguous()
    loss = HeatmapFocalLoss()
    torch.testing.assert_close(loss(turned, heat), loss(logits, heat))


def test_beyond_the_limits_there_is_no_gradient() -> None:
    logits = torch.tensor([[-1000.0, 1000.0, 9.0]], requires_grad=True)
    loss = HeatmapFocalLoss()(logits, torch.tensor([[1.0, 0.0, 0.0]]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    most = -math.log(1e-4) * (1 - 1e-4) ** 2
    torch.testing.assert_close(loss[0, :2].detach(), torch.tensor([most, most]))
    assert gradient[0, :2].tolist() == [0, 0]
    assert gradient[0, 2] > 0


def test_half_precision_is_computed_in_float32() -> None:
    logits = torch.tensor([[0.5, -3.0]], dtype=torch.bfloat16, requires_grad=True)
    loss = HeatmapFocalLoss()(logits, torch.tensor([[1.0, 0.0]]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match=r"got \[3, 2\] and \[3\]"):
        HeatmapFocalLoss()(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ValueError, match=r"at most 1; got 0\.0"):
        HeatmapFocalLoss(thresh=0.0)
    with pytest.raises(ValueError, match=r"at most 1; got 1\.5"):
        HeatmapFocalLoss(thresh=1.5)
    with pytest.raises(ValueError, match=r"not be negative; got -1\.0"):
        HeatmapFocalLoss(weight=-1.0)
