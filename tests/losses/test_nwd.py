"""Wasserstein loss."""

import pytest
import torch

from motedet.geometry import nwd_loss
from motedet.losses import NWDLoss


def test_fields_reach_the_formula() -> None:
    pred = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    target = torch.tensor([[6.0, 0.0, 8.0, 3.0]])
    loss = NWDLoss(mode="norm_sqrt", gamma=2.0, weight=10.0)(pred, target)
    assert torch.equal(loss, 10 * nwd_loss(pred, target, mode="norm_sqrt", gamma=2.0))
    wide = NWDLoss(constant=32.0)(pred, target)
    assert torch.equal(wide, nwd_loss(pred, target, constant=32.0))


def test_pulls_boxes_that_do_not_touch() -> None:
    pred = torch.tensor([[0.0, 0.0, 2.0, 2.0]], requires_grad=True)
    loss = NWDLoss()(pred, torch.tensor([[6.0, 0.0, 8.0, 2.0]]))
    (gradient,) = torch.autograd.grad(loss.sum(), pred)
    assert (gradient[0, [0, 2]] < 0).all()


def test_empty() -> None:
    assert NWDLoss()(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"constant=0\.0"):
        NWDLoss(constant=0.0)
