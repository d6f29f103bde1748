"""Losses on deltas."""

import pytest
import torch

from motedet.losses import L1Loss, SmoothL1Loss

PRED = torch.tensor([[0.0, 1.0, -2.0, 0.25]])
TARGET = torch.zeros(1, 4)


def test_known_values() -> None:
    assert L1Loss(weight=2.0)(PRED, TARGET).tolist() == [[0, 2, 4, 0.5]]
    assert SmoothL1Loss()(PRED, TARGET).tolist() == [[0, 0.5, 1.5, 0.03125]]
    assert SmoothL1Loss(beta=0.5, weight=2.0)(PRED, TARGET).tolist() == [[0, 1.5, 3.5, 0.125]]


def test_smooth_l1_tends_to_l1() -> None:
    torch.testing.assert_close(SmoothL1Loss(beta=1e-6)(PRED, TARGET), L1Loss()(PRED, TARGET))


@pytest.mark.parametrize("loss", [L1Loss(), SmoothL1Loss(), SmoothL1Loss(beta=1 / 9)], ids=repr)
def test_empty_and_gradient(loss: L1Loss | SmoothL1Loss) -> None:
    assert loss(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.zeros(5, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(loss, (pred, target))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"got 0\.0 and 1\.0"):
        SmoothL1Loss(beta=0.0)
    with pytest.raises(ValueError, match=r"weight must not be negative; got -1\.0"):
        L1Loss(weight=-1.0)
