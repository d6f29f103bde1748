"""The slim head: its names, what it starts from, and what it refuses."""

import pytest
import torch

from motedet.errors import RecipeError
from motedet.models.heads import FCOSHeadSpec, SlimHeadSpec
from motedet.models.heads.slim import check_slim

FEATURE = torch.randn(2, 6, 3, 4)
SPEC = SlimHeadSpec(cls_channels=8, box_channels=5)


def test_shapes_and_names() -> None:
    head = SPEC.build(6, num_classes=3)
    outputs = head([FEATURE])
    assert outputs.logits.shape == (2, 12, 3)
    assert outputs.boxes.shape == (2, 12, 4)
    assert outputs.ctrness.shape == (2, 12)
    assert outputs.level_sizes == ((3, 4),)
    layers = [f"{tower}_convs.{i}.conv" for tower in ("cls", "reg") for i in (0, 1)]
    names = {f"{layer}.{part}" for layer in [*layers, "hm.0", "wh.0", "iou.0"]
             for part in ("weight", "bias")}  # fmt: skip
    assert set(head.state_dict()) == names


def test_cells_are_in_rows() -> None:
    head = SlimHeadSpec(num_convs=0).build(6, num_classes=2)
    logits = head([FEATURE]).logits
    expected = head.hm(FEATURE)  # [B, K, h, w]
    torch.testing.assert_close(logits[1, 4 + 2], expected[1, :, 1, 2])


def test_what_it_starts_from() -> None:
    torch.manual_seed(0)
    head = SlimHeadSpec(boxes="deltas").build(6, num_classes=3)
    outputs = head([FEATURE])
    probs = outputs.logits.sigmoid()
    torch.testing.assert_close(probs, torch.full_like(probs, 0.01), rtol=0.5, atol=0)
    assert outputs.boxes.abs().max() < 0.02
    assert (outputs.boxes < 0).any()


def test_first_reach() -> None:
    head = SlimHeadSpec(first_reach=2.0).build(6, num_classes=3)
    boxes = head([FEATURE]).boxes
    torch.testing.assert_close(boxes, torch.full_like(boxes, 2.0), rtol=0.02, atol=0)


def test_distances_are_not_negative() -> None:
    head = SPEC.build(6, num_classes=1)
    assert SPEC.in_strides
    assert (head([FEATURE]).boxes >= 0).all()
    assert not SlimHeadSpec(boxes="deltas").in_strides


def test_the_third_branch_can_be_left_out() -> None:
    head = SlimHeadSpec(quality=False).build(6, num_classes=1)
    assert head([FEATURE]).ctrness is None
    assert not any(name.startswith("iou") for name in head.state_dict())


def test_half_precision_ends_in_float32() -> None:
    head = SPEC.build(6, num_classes=1).to(torch.bfloat16)
    outputs = head([FEATURE.to(torch.bfloat16)])
    assert outputs.logits.dtype == outputs.boxes.dtype == outputs.ctrness.dtype == torch.float32


def test_one_level_and_one_prior_per_cell() -> None:
    with pytest.raises(RecipeError, match="got 3 levels and 1 priors per cell"):
        SPEC.build(6, num_classes=1, num_levels=3)
    with pytest.raises(RecipeError, match="got 1 levels and 9 priors per cell"):
        SPEC.build(6, num_classes=1, per_cell=9)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="got 0, 64 and 2"):
        SlimHeadSpec(cls_channels=0)
    with pytest.raises(ValueError, match=r"got -1\.0 with boxes 'relu_stride'"):
        SlimHeadSpec(first_reach=-1.0)
    with pytest.raises(ValueError, match=r"got 1\.0 with boxes 'deltas'"):
        SlimHeadSpec(boxes="deltas", first_reach=1.0)


def test_detectors_say_what_they_read() -> None:
    check_slim(FCOSHeadSpec(), boxes="deltas", quality=False)  # not theirs to check
    check_slim(SPEC, boxes="relu_stride")
    check_slim(SPEC, boxes="relu_stride", quality=True)
    with pytest.raises(ValueError, match=r"needs head\.boxes 'deltas'; got 'relu_stride'"):
        check_slim(SPEC, boxes="deltas")
    with pytest.raises(ValueError, match=r"needs head\.quality False; got True"):
        check_slim(SPEC, boxes="relu_stride", quality=False)
