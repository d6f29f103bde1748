"""Greedy non-maximum suppression, with the semantics under which results were published.

A box is dropped if its IoU with a better one is above the threshold, strictly. The IoU has no
epsilon here: two boxes of no area give NaN and never suppress each other. Equal scores: lower index
first.
"""

import torch
from torch import Tensor
from torchvision.ops import nms as greedy_nms

from motedet.errors import check_boxes
from motedet.structures import Detections


def nms(boxes: Tensor, scores: Tensor, iou_thresh: float) -> Tensor:
    """Suppression regardless of class.

    Args:
        boxes: [N, 4] xyxy in pixels.
        scores: [N].
        iou_thresh: a box is dropped above this IoU with a better one.

    Returns:
        [D] int64 index of what stays, best first.
    """
    check_boxes(boxes, "boxes")
    keep: Tensor = greedy_nms(boxes.float(), scores.float(), iou_thresh)
    return keep


def class_aware_nms(  # noqa: PLR0913 - the published operator has these options
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    iou_thresh: float,
    class_agnostic: bool = False,
    max_num: int | None = None,
    score_thresh: float = 0.0,
    split_above: int = 10000,
    offset_trick: bool = True,
) -> Tensor:
    """Suppression among boxes of the same class.

    The published way moves each class by label * (largest coordinate + 1) and runs once. That lets
    classes collide where coordinates are negative, and costs precision: 80 classes on 800 px round
    boxes to 0.004-0.008 px. `offset_trick=False` runs class by class on the boxes as they are.

    Args:
        boxes: [N, 4] xyxy in pixels.
        scores: [N].
        labels: [N] int64; pyramid levels in a proposal network.
        iou_thresh: a box is dropped above this IoU with a better one.
        class_agnostic: let every class suppress every other.
        max_num: keep at most this many; None for all.
        score_thresh: if positive, drop scores at or below it first.
        split_above: from this many boxes on, run class by class, still on the moved boxes.
        offset_trick: move the classes apart, as published.

    Returns:
        [D] int64 index into the input, best first.
    """
    check_boxes(boxes, "boxes")
    if len(boxes) == 0:
        return labels.new_zeros(0, dtype=torch.int64)
    if offset_trick and not class_agnostic:
        boxes = boxes + (labels.to(boxes) * (boxes.max() + 1))[:, None]  # [N, 4]

    candidates = torch.arange(len(boxes), device=boxes.device)
    if score_thresh > 0:
        candidates = candidates[scores > score_thresh]
    boxes, scores, labels = boxes[candidates], scores[candidates], labels[candidates]
    if class_agnostic or (offset_trick and len(boxes) < split_above):
        keep = nms(boxes, scores, iou_thresh)
    else:
        keep = _nms_per_class(boxes, scores, labels, iou_thresh)
    return candidates[keep[:max_num]]


def multiclass_nms(
    boxes: Tensor,
    scores: Tensor,
    *,
    score_thresh: float,
    iou_thresh: float,
    max_num: int | None = None,
    score_factors: Tensor | None = None,
    offset_trick: bool = True,
) -> tuple[Detections, Tensor]:
    """Detections from the scores of all classes: threshold, then class-aware suppression.

    Args:
        boxes: [N, 4] xyxy in pixels shared by the classes, or [N, 4 * K] one per class.
        scores: [N, K], without a background column.
        score_thresh: keep scores above it, before `score_factors`.
        iou_thresh: a box is dropped above this IoU with a better one of its class.
        max_num: keep at most this many; None for all.
        score_factors: [N] multiplied into the scores after the threshold, such as centre-ness.
        offset_trick: as in `class_aware_nms`.

    Returns:
        The detections, best first, and [D] int64 their places in the flattened scores.
    """
    num_classes = scores.shape[-1]
    index = (scores > score_thresh).flatten().nonzero().flatten()  # [M]
    rows, labels = index // num_classes, index % num_classes
    per_class = boxes.reshape(len(boxes), boxes.shape[-1] // 4, 4).expand(
        -1, num_classes, 4
    )  # [N, K, 4]
    found = per_class[rows, labels]  # [M, 4]
    if score_factors is not None:
        scores = scores * score_factors[:, None]  # [N, K]
    found_scores = scores[rows, labels]  # [M]

    keep = class_aware_nms(
        found,
        found_scores,
        labels,
        iou_thresh=iou_thresh,
        max_num=max_num,
        offset_trick=offset_trick,
    )
    return Detections(found[keep], found_scores[keep], labels[keep]), index[keep]


def _nms_per_class(boxes: Tensor, scores: Tensor, labels: Tensor, iou_thresh: float) -> Tensor:
    """[D] index of what stays when each class is on its own, best first."""
    survives = torch.zeros_like(labels, dtype=torch.bool)  # [N]
    for label in torch.unique(labels):
        members = (labels == label).nonzero().flatten()
        survives[members[nms(boxes[members], scores[members], iou_thresh)]] = True
    keep = survives.nonzero().flatten()  # [D], lower index first
    return keep[scores[keep].argsort(descending=True, stable=True)]
