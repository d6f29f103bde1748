"""Losses on overlap."""

import math

import pytest
import torch
from torch import Tensor

from motedet.losses import CIoULoss, DIoULoss, GIoULoss, IoULoss

BoxLoss = IoULoss | GIoULoss | DIoULoss | CIoULoss
LOSSES: list[BoxLoss] = [
    IoULoss(),
    IoULoss(mode="linear"),
    IoULoss(mode="square"),
    GIoULoss(),
    GIoULoss(plus_one=True),
    DIoULoss(),
    CIoULoss(),
]
QUARTER = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, 4.0, 4.0]])


def draw_pairs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Eight boxes and eight that overlap them."""
    uniform = torch.rand(8, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    target = torch.cat((uniform[:, :2], uniform[:, :2] + 2 + uniform[:, 2:4]), dim=1) * 8
    return target + uniform[:, 4:], target


def test_known_values() -> None:
    assert IoULoss()(*QUARTER).item() == pytest.approx(math.log(4))
    assert IoULoss(mode="linear")(*QUARTER).item() == pytest.approx(0.75)
    assert IoULoss(mode="square")(*QUARTER).item() == pytest.approx(1 - 1 / 16)
    assert GIoULoss(weight=2.0)(*QUARTER).item() == pytest.approx(1.5)
    assert DIoULoss()(*QUARTER).item() == pytest.approx(0.75 + 2 / 32)
    assert CIoULoss()(*QUARTER).item() == pytest.approx(0.75 + 2 / 32)


def test_without_overlap() -> None:
    pred = torch.tensor([[0.0, 0.0, 2.0, 2.0]], requires_grad=True)
    target = torch.tensor([[6.0, 0.0, 8.0, 2.0]])
    assert IoULoss()(pred, target).item() == pytest.approx(-math.log(1e-6))
    assert GIoULoss()(pred, target).item() == pytest.approx(1.5)
    for loss in (GIoULoss(), DIoULoss(), CIoULoss()):
        (gradient,) = torch.autograd.grad(loss(pred, target).sum(), pred)
        assert gradient.abs().sum() > 0


def test_a_pixel_more() -> None:
    """The quarter becomes 9 of 25 square pixels; boxes a pixel apart touch."""
    loss = GIoULoss(plus_one=True)
    assert loss(*QUARTER).item() == pytest.approx(1 - 9 / 25)
    left, right = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[2.0, 0.0, 3.0, 1.0]])
    assert loss(left, right).item() == pytest.approx(1.0)
    assert GIoULoss()(left, right).item() == pytest.approx(1 + 1 / 3)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_box_equal_to_its_target_costs_nothing(loss: BoxLoss) -> None:
    target = draw_pairs(torch.float32)[1]
    pred = target.clone().requires_grad_()
    value = loss(pred, target)
    (gradient,) = torch.autograd.grad(value.sum(), pred)
    torch.testing.assert_close(value.detach(), torch.zeros(8), rtol=0, atol=1e-6)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_boxes_without_area_stay_finite(loss: BoxLoss) -> None:
    pred = torch.tensor([[3.0, 3.0, 3.0, 3.0]], requires_grad=True)
    for target in (pred.detach(), torch.tensor([[0.0, 0.0, 4.0, 4.0]])):
        value = loss(pred, target)
        (gradient,) = torch.autograd.grad(value.sum(), pred)
        assert value.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_empty(loss: BoxLoss) -> None:
    none = torch.zeros(0, 4, requires_grad=True)
    value = loss(none, torch.zeros(0, 4))
    assert value.shape == (0,)
    (gradient,) = torch.autograd.grad(value.sum(), none)
    assert gradient.shape == (0, 4)


@pytest.mark.parametrize("loss", LOSSES[:-1], ids=repr)
def test_gradient(loss: BoxLoss) -> None:
    pred, target = draw_pairs(torch.float64)
    assert torch.autograd.gradcheck(loss, (pred.requires_grad_(), target))


@pytest.mark.parametrize("make", [IoULoss, GIoULoss, DIoULoss, CIoULoss])
def test_bad_input(make: type[BoxLoss]) -> None:
    with pytest.raises(ValueError, match=r"got 0\.0 and 1\.0"):
        make(eps=0.0)
    with pytest.raises(ValueError, match=r"got 1e-06 and -1\.0"):
        make(weight=-1.0)
