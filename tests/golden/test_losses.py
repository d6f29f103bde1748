"""Losses, their values and gradients, against stored reference values."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from golden_files import case_names, load_json, load_npz
from motedet.losses import (
    BCELoss,
    CIoULoss,
    DIoULoss,
    FocalLoss,
    GIoULoss,
    IoULoss,
    L1Loss,
    QualityFocalLoss,
    SmoothL1Loss,
)

OPS = load_npz("autoassign", "ops.npz")
OPS_JSON = load_json("autoassign", "ops.json")

NOT_IMPLEMENTED = {"eiou", "bounded_iou", "softmax"}  # the reference has them, motedet does not


def ops(key: str) -> Tensor:
    return torch.from_numpy(OPS[key])


def cases(group: str) -> list[str]:
    """The losses of a group: the keys `group/loss/array` of ops.npz."""
    keys = [key for key in OPS if key.startswith(f"{group}/") and key.count("/") == 2]
    found = [path.split("/")[1] for path in case_names(keys, depth=2)]
    return [name for name in found if name not in NOT_IMPLEMENTED]


def decimal(digits: str) -> float:
    """A number as keys write it: `1` is 1, `011` is 0.11, `15` is 1.5."""
    return float(f"{digits[0]}.{digits[1:] or '0'}")


# --- Boxes ------------------------------------------------------------------------------------


def box_loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that a key names: `giou`, `iou_square`, `smooth_l1_b011`."""
    if beta := re.fullmatch(r"smooth_l1_b(\d+)", name):
        return SmoothL1Loss(beta=decimal(beta[1]))
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "iou_log": IoULoss(mode="log"),
        "iou_linear": IoULoss(mode="linear"),
        "iou_square": IoULoss(mode="square"),
        "giou": GIoULoss(),
        "diou": DIoULoss(),
        "ciou": CIoULoss(),
        "l1": L1Loss(),
    }
    return losses[name]


@pytest.mark.parametrize("name", cases("boxloss"))
def test_box_loss(name: str) -> None:
    pred = ops("boxloss/pred").requires_grad_()
    weight = ops("boxloss/weight")  # [N]
    loss = box_loss(name)(pred, ops("boxloss/target"))  # [N] or [N, 4]
    weighted = loss * (weight if loss.ndim == 1 else weight[:, None])
    mean = weighted.sum() / float(OPS["boxloss/avg_factor"])
    (gradient,) = torch.autograd.grad(mean, pred)

    assert_close_but_finite(loss.detach(), f"boxloss/{name}/none")
    assert_close_but_finite(gradient, f"boxloss/{name}/grad")
    assert_close_but_finite(mean.detach(), f"boxloss/{name}/weighted_mean")


def assert_close_but_finite(actual: Tensor, key: str) -> None:
    """Within 1e-5; where the reference is NaN (CIoU of a box with itself) ours is a number."""
    expected = OPS[key]
    assert actual.isfinite().all()
    known = ~np.isnan(expected)
    np.testing.assert_allclose(actual.numpy()[known], expected[known], rtol=0, atol=1e-5)


# --- Classes ----------------------------------------------------------------------------------


def class_loss(name: str, logits: Tensor, labels: Tensor) -> Tensor:
    """[N, K], by the loss that a key names: `focal`, `focal_g15_a05`, `bce`, `qfl`."""
    if name == "qfl":
        return QualityFocalLoss()(logits, labels, ops("clsloss/quality"))
    if name == "bce":
        return BCELoss()(logits, labels)
    if tuned := re.fullmatch(r"focal_g(\d+)_a(\d+)", name):
        return FocalLoss(gamma=decimal(tuned[1]), alpha=decimal(tuned[2]))(logits, labels)
    return {"focal": FocalLoss()}[name](logits, labels)


@pytest.mark.parametrize("name", cases("clsloss"))
def test_class_loss(name: str) -> None:
    logits = ops("clsloss/logits").requires_grad_()
    loss = class_loss(name, logits, ops("clsloss/labels"))  # [N, K]
    if name == "qfl":
        loss = loss.sum(dim=1, keepdim=True)  # summed over classes before it is weighted
    value = (loss * ops("clsloss/weight")[:, None]).sum() / OPS_JSON["clsloss"]["avg_factor"]
    (gradient,) = torch.autograd.grad(value, logits)

    expected = OPS[f"clsloss/{name}/value"]
    np.testing.assert_allclose(value.detach(), expected, atol=1e-6)
    np.testing.assert_allclose(gradient, OPS[f"clsloss/{name}/grad"], rtol=0, atol=1e-6)
