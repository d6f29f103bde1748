"""AutoAssign's head: its names, what it starts from, and its units."""

import math

import pytest
import torch

from motedet.models.heads import AutoAssignHeadSpec

FEATURES = [torch.randn(2, 6, s, s + 1) for s in (6, 3)]
SPEC = AutoAssignHeadSpec(channels=8, num_convs=1, groups=4)


def test_shapes_and_names() -> None:
    head = SPEC.build(6, num_classes=3, strides=(8, 16))
    outputs = head(FEATURES)
    assert outputs.logits.shape == (2, 42 + 12, 3)
    assert outputs.boxes.shape == (2, 54, 4)
    assert outputs.ctrness is not None
    assert outputs.ctrness.shape == (2, 54)
    assert outputs.level_sizes == ((6, 7), (3, 4))
    towers = [
        f"{kind}_convs.0.{part}.{name}"
        for kind in ("cls", "reg")
        for part in ("conv", "gn")
        for name in ("weight", "bias")
    ]
    last = [f"conv_{n}.{p}" for n in ("cls", "reg", "centerness") for p in ("weight", "bias")]
    others = ["scales.0.scale", "scales.1.scale", "center_prior.mean", "center_prior.sigma"]
    assert set(head.state_dict()) == {*towers, *last, *others}


def test_what_it_starts_from() -> None:
    """Boxes of four strides each way, classes of 2 %, a round centre prior of one stride."""
    head = SPEC.build(6, num_classes=3, strides=(8, 16))
    outputs = head([torch.zeros_like(f) for f in FEATURES])
    assert outputs.ctrness is not None
    torch.testing.assert_close(outputs.boxes[0, 0], torch.full((4,), 32.0), rtol=0.1, atol=0)
    torch.testing.assert_close(outputs.boxes[0, -1], torch.full((4,), 64.0), rtol=0.1, atol=0)
    assert head.conv_cls.bias is not None
    assert torch.allclose(head.conv_cls.bias, torch.tensor(-math.log(49.0)))
    assert torch.equal(head.center_prior.mean, torch.zeros(3, 2))
    assert torch.equal(head.center_prior.sigma, torch.ones(3, 2))


def test_distances_are_pixels_and_not_negative() -> None:
    head = SPEC.build(6, num_classes=1, strides=(8, 16))
    torch.nn.init.constant_(dict(head.named_parameters())["scales.1.scale"], 3.0)
    tripled = head(FEATURES).boxes
    torch.nn.init.constant_(dict(head.named_parameters())["scales.1.scale"], 1.0)
    once = head(FEATURES).boxes
    torch.testing.assert_close(tripled[:, 42:], 3 * once[:, 42:])
    torch.testing.assert_close(tripled[:, :42], once[:, :42])
    torch.nn.init.constant_(head.conv_reg.bias, -5.0)  # type: ignore[arg-type]
    assert not head(FEATURES).boxes.any()


def test_boxes_and_objectness_come_from_one_tower() -> None:
    head = SPEC.build(6, num_classes=2, strides=(8, 16))
    before = head(FEATURES)
    torch.nn.init.zeros_(head.cls_convs.get_submodule("0.conv").weight)  # type: ignore[arg-type]
    after = head(FEATURES)
    assert torch.equal(after.boxes, before.boxes)
    assert torch.equal(after.ctrness, before.ctrness)
    assert not torch.equal(after.logits, before.logits)


def test_groups_must_divide() -> None:
    with pytest.raises(ValueError, match="channels=24 is not a multiple of groups=32"):
        AutoAssignHeadSpec(channels=24)
