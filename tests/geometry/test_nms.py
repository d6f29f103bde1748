"""Suppression."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motedet.errors import ShapeError
from motedet.geometry import class_aware_nms, multiclass_nms, nms, pairwise_iou

HALF = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.0]])  # IoU exactly 0.5


def draw(seed: int, count: int, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, some of them partly outside, their scores, many of them equal, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, 4, generator=generator)
    top_left = uniform[:, :2] * 30 - 10
    boxes = torch.cat((top_left, top_left + 4 + uniform[:, 2:] * 12), dim=1)
    scores = torch.randint(1, 20, (count,), generator=generator) / 20
    return boxes, scores, torch.randint(num_classes, (count,), generator=generator)


def greedy(boxes: Tensor, scores: Tensor, labels: Tensor, iou_thresh: float) -> list[int]:
    """The definition, word by word."""
    kept: list[int] = []
    iou = pairwise_iou(boxes, boxes).tolist()
    for i in scores.argsort(descending=True, stable=True).tolist():
        if all(iou[i][j] <= iou_thresh or labels[i] != labels[j] for j in kept):
            kept.append(i)
    return kept


def test_suppression_is_strict() -> None:
    scores = torch.tensor([0.9, 0.8])
    assert nms(HALF, scores, 0.5).tolist() == [0, 1]
    assert nms(HALF, scores, 0.49).tolist() == [0]


def test_best_first_and_lower_index_among_equals() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]]).repeat(3, 1) + torch.tensor([[0.0], [0.0], [9.0]])
    assert nms(boxes, torch.tensor([0.5, 0.5, 0.9]), 0.5).tolist() == [2, 0]


def test_boxes_without_area_never_suppress() -> None:
    assert nms(torch.ones(3, 4), torch.tensor([0.1, 0.2, 0.3]), 0.5).tolist() == [2, 1, 0]


@pytest.mark.parametrize("offset_trick", [True, False], ids=["offset", "per-class"])
def test_empty(offset_trick: bool) -> None:
    boxes, scores = torch.zeros(0, 4), torch.zeros(0)
    labels = torch.zeros(0, dtype=torch.int64)
    assert nms(boxes, scores, 0.5).tolist() == []
    keep = class_aware_nms(boxes, scores, labels, iou_thresh=0.5, offset_trick=offset_trick)
    assert keep.dtype == torch.int64
    assert keep.tolist() == []
    found, index = multiclass_nms(boxes, torch.zeros(0, 3), score_thresh=0.1, iou_thresh=0.5)
    assert (len(found), len(index)) == (0, 0)


def test_nothing_above_the_score_threshold() -> None:
    labels = torch.zeros(2, dtype=torch.int64)
    scores = torch.tensor([0.2, 0.1])
    assert class_aware_nms(HALF, scores, labels, iou_thresh=0.5, score_thresh=0.2).tolist() == []


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match="boxes must be a float tensor"):
        nms(torch.zeros(2, 5), torch.zeros(2), 0.5)


@given(seed=st.integers(0, 2**31), split_above=st.sampled_from([10, 10000]))
@settings(deadline=None, max_examples=25)
def test_per_class_follows_the_definition(seed: int, split_above: int) -> None:
    boxes, scores, labels = draw(seed, 40, 3)
    keep = class_aware_nms(
        boxes, scores, labels, iou_thresh=0.4, split_above=split_above, offset_trick=False
    )
    assert keep.tolist() == greedy(boxes, scores, labels, 0.4)


@given(seed=st.integers(0, 2**31), split_above=st.sampled_from([10, 10000]))
@settings(deadline=None, max_examples=25)
def test_offset_agrees_where_coordinates_are_not_negative(seed: int, split_above: int) -> None:
    boxes, scores, labels = draw(seed, 40, 3)
    boxes = ((boxes + 10) * 4).round() / 4  # exact in float32, so that the offset costs nothing
    keep = class_aware_nms(boxes, scores, labels, iou_thresh=0.4, split_above=split_above)
    assert keep.tolist() == greedy(boxes, scores, labels, 0.4)


@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=25)
def test_class_agnostic_ignores_labels(seed: int) -> None:
    boxes, scores, labels = draw(seed, 40, 3)
    keep = class_aware_nms(boxes, scores, labels, iou_thresh=0.4, class_agnostic=True, max_num=7)
    assert keep.tolist() == greedy(boxes, scores, torch.zeros_like(labels), 0.4)[:7]


def test_negative_coordinates_clash_only_with_the_offset() -> None:
    # the largest coordinate is 100: class 1 moves by 101 and lands on the first box
    boxes = torch.tensor(
        [[80.0, 80.0, 100.0, 100.0], [-21.0, -21.0, -1.0, -1.0], [20.0, 20.0, 30.0, 30.0]]
    )
    scores, labels = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 1, 0])
    faithful = class_aware_nms(boxes, scores, labels, iou_thresh=0.5)
    apart = class_aware_nms(boxes, scores, labels, iou_thresh=0.5, offset_trick=False)
    assert faithful.tolist() == [0, 2]
    assert apart.tolist() == [0, 1, 2]


def test_multiclass_thresholds_before_the_factors() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [9.0, 9.0, 12.0, 12.0]])
    scores = torch.tensor([[0.6, 0.1], [0.3, 0.5]])
    found, index = multiclass_nms(
        boxes,
        scores,
        score_thresh=0.2,
        iou_thresh=0.5,
        score_factors=torch.tensor([0.1, 1.0]),
    )
    assert index.tolist() == [3, 2, 0]
    assert found.labels.tolist() == [1, 0, 0]
    torch.testing.assert_close(found.scores, torch.tensor([0.5, 0.3, 0.06]))
    assert found.boxes.tolist() == boxes[[1, 1, 0]].tolist()
