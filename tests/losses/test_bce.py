"""Binary cross-entropy."""

import math

import pytest
import torch

from motedet.losses import BCELoss


def test_labels_and_probabilities_agree() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 2, 3, -1])  # the last two are background
    table = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]])
    assert torch.equal(BCELoss()(logits, labels), BCELoss()(logits, table))


def test_known_value() -> None:
    loss = BCELoss(weight=2.0)(torch.zeros(2), torch.tensor([1.0, 0.25]))
    torch.testing.assert_close(loss, torch.full((2,), 2 * math.log(2)))


def test_empty() -> None:
    assert BCELoss()(torch.zeros(0), torch.zeros(0)).shape == (0,)
    assert BCELoss()(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).shape == (0, 3)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"weight must not be negative; got -1\.0"):
        BCELoss(weight=-1.0)
