import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from motedet.assign import MaxIoU
from motedet.priors import Level, PriorGrid
from motedet.structures import IGNORED, PackedTargets, Targets

# Three anchors, each on a level of its own: (0, 0, 10, 10), (20, 20, 30, 30), (100, 100, 110, 110).
GRID = PriorGrid(
    tuple(Level(8, 1, 1, 0.0, ((at, at, at + 10.0, at + 10.0),)) for at in (0.0, 20.0, 100.0))
)


Boxes = Sequence[Sequence[float]]


def packed(boxes: Boxes, ignore: Boxes = ()) -> PackedTargets:
    gt = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(gt), dtype=torch.int64)
    ignore_boxes = torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4)
    return PackedTargets.pack([Targets(gt, labels, ignore_boxes, (128, 128), (128, 128))])


def test_thresholds_by_hand() -> None:
    boxes: Boxes = [[0.0, 0, 10, 6], [20, 20, 30, 24.5], [100, 100, 110, 103]]  # IoU 0.6, 0.45, 0.3
    rule = MaxIoU(low_quality=False)
    assignment = rule(GRID, packed(boxes))
    assert assignment.gt_index.tolist() == [[0, IGNORED, -1]]
    assert assignment.quality[0].tolist() == pytest.approx([0.6, 0, 0])


def test_low_quality_matches_need_the_minimum() -> None:
    boxes: Boxes = [[0.0, 0, 10, 3], [20, 20, 30, 22]]  # IoU 0.3, 0.2
    assert MaxIoU(min_pos_iou=0.25)(GRID, packed(boxes)).gt_index.tolist() == [[0, -1, -1]]
    assignment = MaxIoU(min_pos_iou=0.0)(GRID, packed(boxes))
    assert assignment.gt_index.tolist() == [[0, 1, -1]]
    assert assignment.quality[0].tolist() == pytest.approx([0.3, 0.2, 0])


@pytest.mark.parametrize(
    ("boxes", "published"),
    [
        ([[0.0, 0, 9, 9], [200, 200, 205, 205]], [1, 1, 1]),
        ([[5.0, 5, 5, 5]], [0, 0, 0]),
    ],
    ids=["far away", "without area"],
)
def test_an_object_without_overlap_does_not_take_the_image(
    boxes: list[list[float]], published: list[int]
) -> None:
    want = [0 if len(boxes) > 1 else -1, -1, -1]
    assert MaxIoU()(GRID, packed(boxes)).gt_index[0].tolist() == want
    faithful = MaxIoU(zero_overlap_matches=True)
    assert faithful(GRID, packed(boxes)).gt_index[0].tolist() == published


def test_all_ties_or_the_first() -> None:
    boxes: Boxes = [[0.0, 0, 30, 30]]  # IoU 1/9 with the first and the second anchor
    assert MaxIoU()(GRID, packed(boxes)).gt_index.tolist() == [[0, 0, -1]]
    assert MaxIoU(all_ties=False)(GRID, packed(boxes)).gt_index.tolist() == [[0, -1, -1]]


def test_last_of_equal_objects_takes_the_ties() -> None:
    boxes: Boxes = [[0.0, 0, 9, 9], [0, 0, 9, 9]]
    assert MaxIoU()(GRID, packed(boxes)).gt_index.tolist() == [[1, -1, -1]]
    assert MaxIoU(low_quality=False)(GRID, packed(boxes)).gt_index.tolist() == [[0, -1, -1]]


def test_ignore_boxes_in_both_directions() -> None:
    targets = packed([[0.0, 0, 9, 9]], [[0.0, 0, 10, 6], [22, 22, 24, 24]])
    of_prior = MaxIoU(ignore_iof=0.5)(GRID, targets)
    assert of_prior.gt_index.tolist() == [[IGNORED, -1, -1]]
    of_box = MaxIoU(ignore_iof=0.5, ignore_wrt_candidates=False)(GRID, targets)
    assert of_box.gt_index.tolist() == [[IGNORED, IGNORED, -1]]
    assert MaxIoU()(GRID, targets).gt_index.tolist() == [[0, -1, -1]]


NWD = MaxIoU(similarity="nwd", pos_iou=0.7, neg_iou=0.3, min_pos_iou=0.3)


def test_nwd_by_hand() -> None:
    # without a change of size NWD is exp(-distance / 12.8): 4 px 0.73, 8 px 0.54, 16 px 0.29
    boxes: Boxes = [[4.0, 0, 14, 10], [20, 28, 30, 38], [100, 116, 110, 126]]
    assert NWD(GRID, packed(boxes)).gt_index.tolist() == [[0, 1, -1]]
    assignment = replace(NWD, low_quality=False)(GRID, packed(boxes))
    assert assignment.gt_index.tolist() == [[0, IGNORED, -1]]
    assert assignment.quality[0].tolist() == pytest.approx([math.exp(-4 / 12.8), 0, 0], rel=1e-5)


def test_nwd_needs_no_overlap() -> None:
    boxes: Boxes = [[11.0, 0, 12, 1]]
    assert MaxIoU()(GRID, packed(boxes)).positive.sum() == 0
    assert replace(NWD, min_pos_iou=0.1)(GRID, packed(boxes)).gt_index.tolist() == [[0, -1, -1]]
    everywhere: Boxes = [[400.0, 400, 410, 410]]  # 430 px away, and still the best there is
    assert replace(NWD, min_pos_iou=0.0)(GRID, packed(everywhere)).gt_index.tolist() == [
        [-1, -1, 0]
    ]


def test_nwd_constant_is_the_unit_of_distance() -> None:
    boxes: Boxes = [[20.0, 28, 30, 38]]  # 8 px
    wide = replace(NWD, low_quality=False, nwd_constant=25.6)
    assert wide(GRID, packed(boxes)).gt_index[0, 1] == 0


def test_ties_in_nwd() -> None:
    between: Boxes = [[10.0, 10, 20, 20]]  # as far from the first anchor as from the second
    rule = replace(NWD, min_pos_iou=0.1)
    assert rule(GRID, packed(between)).gt_index.tolist() == [[0, 0, -1]]
    first = replace(rule, all_ties=False)(GRID, packed(between))
    assert first.gt_index.tolist() == [[0, IGNORED, -1]]  # 14 px are neither near nor far


def test_ignore_boxes_use_the_share_of_area_with_nwd_too() -> None:
    targets = packed([[0.0, 0, 9, 9]], [[20.0, 20, 30, 26]])
    assert replace(NWD, ignore_iof=0.5)(GRID, targets).gt_index.tolist() == [[0, IGNORED, -1]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pos_iou": 0.0}, "pos_iou must be in"),
        ({"neg_iou": 1.5}, "neg_iou must be in"),
        ({"neg_iou": (0.4, 0.1)}, r"neg_iou must be in .* got \(0.4, 0.1\)"),
        ({"min_pos_iou": -0.1}, "min_pos_iou must be at least 0"),
        ({"nwd_constant": 0.0}, "nwd_constant must be positive; got 0.0"),
        ({"ignore_iof": 0.0}, "ignore_iof must be positive or None; got 0.0"),
    ],
    ids=str,
)
def test_wrong_thresholds(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaxIoU(**wrong)  # type: ignore[arg-type]
