"""Quality focal loss."""

import math

import pytest
import torch

from motedet.losses import FocalLoss, QualityFocalLoss


def test_known_value() -> None:
    loss = QualityFocalLoss()(torch.zeros(1, 2), torch.tensor([1]), torch.tensor([0.8]))
    expected = torch.tensor([[0.25 * math.log(2), 0.09 * math.log(2)]])
    torch.testing.assert_close(loss, expected)


def test_a_probability_equal_to_the_quality_costs_nothing() -> None:
    logits = torch.tensor([[math.log(0.7 / 0.3)]], requires_grad=True)
    loss = QualityFocalLoss()(logits, torch.tensor([0]), torch.tensor([0.7]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert gradient.item() == pytest.approx(0, abs=1e-6)


def test_quality_one_is_focal_loss_without_balance() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, -1, 0])
    quality_focal = QualityFocalLoss()(logits, labels, torch.ones(6))
    torch.testing.assert_close(quality_focal, 2 * FocalLoss(alpha=0.5)(logits, labels))


def test_empty() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert QualityFocalLoss()(torch.zeros(0, 3), none, torch.zeros(0)).shape == (0, 3)


def test_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    labels, quality = torch.tensor([0, 1, 2, 3, -1]), torch.rand(5, generator=generator)
    loss = QualityFocalLoss(weight=0.5)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels, quality), (logits,))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"must not be negative; got -2\.0 and 1\.0"):
        QualityFocalLoss(beta=-2.0)
