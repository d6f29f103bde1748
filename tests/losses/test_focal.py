"""Focal loss."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motedet.errors import ShapeError
from motedet.losses import FocalLoss


def formula(loss: FocalLoss, logits: Tensor, labels: Tensor) -> Tensor:
    """The paper's equation on a one-hot table."""
    target = (labels[:, None] == torch.arange(logits.shape[1])).to(logits.dtype)
    probs = logits.sigmoid()
    right = probs * target + (1 - probs) * (1 - target)
    share = loss.alpha * target + (1 - loss.alpha) * (1 - target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return loss.weight * share * (1 - right) ** loss.gamma * entropy


def test_known_value() -> None:
    loss = FocalLoss()(torch.zeros(2, 2), torch.tensor([1, -1]))
    quarter = 0.25 * math.log(2)
    expected = torch.tensor([[0.75, 0.25], [0.75, 0.75]]) * quarter
    torch.testing.assert_close(loss, expected)


@given(
    seed=st.integers(0, 2**31),
    num_classes=st.integers(1, 6),
    alpha=st.floats(0, 1),
    gamma=st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0]),
)
@settings(deadline=None, max_examples=30)
def test_equals_the_formula(seed: int, num_classes: int, alpha: float, gamma: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(12, num_classes, generator=generator, dtype=torch.float64) * 4
    logits.requires_grad_()
    labels = torch.randint(-2, num_classes + 2, (12,), generator=generator)
    upstream = torch.rand(12, num_classes, generator=generator, dtype=torch.float64)
    focal = FocalLoss(alpha=alpha, gamma=gamma, weight=2.0)

    actual, expected = focal(logits, labels), formula(focal, logits, labels)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
    gradients = [torch.autograd.grad(x, logits, upstream)[0] for x in (actual, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("rows", "num_classes"), [(0, 3), (1, 1), (5, 4)])
def test_shape_and_gradient(rows: int, num_classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, num_classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, num_classes, (rows,), generator=generator)
    assert FocalLoss()(logits, labels).shape == (rows, num_classes)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: FocalLoss()(x, labels), (logits,))


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([[-1000.0, 1000.0], [-90.0, 90.0]], requires_grad=True)
    loss = FocalLoss()(logits, torch.tensor([0, 1]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient.isfinite().all()
    torch.testing.assert_close(loss[0].detach(), torch.tensor([250.0, 750.0]))


def test_small_probabilities_keep_their_digits() -> None:
    logits = torch.linspace(-28, 40, 1001)[:, None]
    background = torch.full((1001,), -1)
    exact = 0.75 * logits.double().sigmoid() ** 2 * F.softplus(logits.double())
    actual = FocalLoss()(logits, background)
    torch.testing.assert_close(actual.double(), exact, rtol=5e-6, atol=0)


def test_half_precision_is_computed_in_float32() -> None:
    logits = torch.tensor([[0.5, -3.0]], dtype=torch.bfloat16, requires_grad=True)
    loss = FocalLoss()(logits, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match=r"got \[3, 2\] and \[2\]"):
        FocalLoss()(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\]; got 1\.5"):
        FocalLoss(alpha=1.5)
    with pytest.raises(ValueError, match="must not be negative; got -1"):
        FocalLoss(gamma=-1.0)
