"""Losses as recipe schema."""

import pytest
from pydantic import TypeAdapter, ValidationError

from motedet.losses import (
    AnyBoxLoss,
    AnyClassLoss,
    AnyDeltaLoss,
    CIoULoss,
    FocalLoss,
    NWDLoss,
    SmoothL1Loss,
)


def test_kind_chooses_the_loss() -> None:
    class_loss = TypeAdapter[object](AnyClassLoss).validate_python({"kind": "focal", "gamma": 1.5})
    assert class_loss == FocalLoss(gamma=1.5)
    delta_loss = TypeAdapter[object](AnyDeltaLoss).validate_python(
        {"kind": "smooth_l1", "beta": "1e-1"}
    )
    assert delta_loss == SmoothL1Loss(beta=0.1)
    box_loss = TypeAdapter[object](AnyBoxLoss)
    assert box_loss.validate_python({"kind": "ciou", "weight": 2}) == CIoULoss(weight=2.0)
    assert box_loss.validate_python({"kind": "nwd", "mode": "log"}) == NWDLoss(mode="log")


def test_bad_values_are_refused_at_their_path() -> None:
    with pytest.raises(ValidationError, match="alpha must be in"):
        TypeAdapter[object](AnyClassLoss).validate_python({"kind": "focal", "alpha": 2})
    with pytest.raises(ValidationError, match="'iou', 'giou', 'diou', 'ciou', 'nwd'"):
        TypeAdapter[object](AnyBoxLoss).validate_python({"kind": "huber"})
