"""ATSS's head."""

import pytest
import torch

from motedet.models.heads.atss import ATSSHeadSpec


def test_shapes_and_names() -> None:
    head = ATSSHeadSpec(channels=8, num_convs=1, groups=4).build(6, num_classes=3, num_levels=2)
    outputs = head([torch.randn(2, 6, 4, 5), torch.randn(2, 6, 2, 3)])
    assert outputs.logits.shape == (2, 26, 3)
    assert outputs.boxes.shape == (2, 26, 4)
    assert outputs.ctrness.shape == (2, 26)
    assert {"scales.1.scale", "atss_centerness.weight", "cls_convs.0.gn.bias"} <= set(
        head.state_dict()
    )
    assert "cls_convs.0.conv.bias" not in head.state_dict()


def test_groups_must_divide() -> None:
    with pytest.raises(ValueError, match="channels=24"):
        ATSSHeadSpec(channels=24)
