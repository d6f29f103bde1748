"""Overlap between axis-aligned boxes.

The aligned functions compare boxes pair by pair, [N, 4] with [N, 4], and broadcast like any
arithmetic; the pairwise ones are the same lines on [N, 1, 4] and [1, M, 4]. Both therefore give the
same bits, which decides exact ties in label assignment.

The order of operations is the published one: sum of the areas, minus the intersection, clamped,
then divided. GIoU: Rezatofighi et al. 2019 (arXiv 1902.09630); DIoU and CIoU: Zheng et al. 2020
(arXiv 1911.08287).
"""

import math
from typing import Final

import torch
from torch import Tensor

from motedet.errors import check_boxes
from motedet.geometry.boxes import box_area, corners

EPS: Final = 1e-6  # the area of a 0.001 px box: an empty union scores 0 instead of NaN


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of every box with every other box.

    Args:
        boxes: [N, 4] xyxy in pixels.
        others: [M, 4] xyxy in pixels.

    Returns:
        [N, M] in [0, 1]; 0 where both are empty.
    """
    check_boxes(boxes, "boxes")
    check_boxes(others, "others")
    return aligned_iou(boxes[:, None], others[None])  # [N, M]


def pairwise_iof(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection of every box with every other box, over the area of the first.

    Args:
        boxes: [N, 4] xyxy in pixels, the foreground.
        others: [M, 4] xyxy in pixels.

    Returns:
        [N, M] in [0, 1].
    """
    check_boxes(boxes, "boxes")
    check_boxes(others, "others")
    return aligned_iof(boxes[:, None], others[None])  # [N, M]


def aligned_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of corresponding boxes.

    Args:
        boxes: [N, 4] xyxy in pixels.
        others: [N, 4] xyxy in pixels.

    Returns:
        [N] in [0, 1]; 0 where both are empty.
    """
    inter = aligned_intersection(boxes, others)  # [N]
    union = box_area(boxes) + box_area(others) - inter  # [N]
    return inter / union.clamp(min=EPS)


def aligned_iof(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection of corresponding boxes over the area of the first.

    Args:
        boxes: [N, 4] xyxy in pixels, the foreground.
        others: [N, 4] xyxy in pixels.

    Returns:
        [N] in [0, 1].
    """
    return aligned_intersection(boxes, others) / box_area(boxes).clamp(min=EPS)


def aligned_giou(boxes: Tensor, others: Tensor, *, eps: float = EPS) -> Tensor:
    """Generalised IoU of corresponding boxes: minus the share of the hull that neither covers.

    Args:
        boxes: [N, 4] xyxy in pixels.
        others: [N, 4] xyxy in pixels.
        eps: smallest union and hull area, in square pixels.

    Returns:
        [N] in [-1, 1].
    """
    inter = aligned_intersection(boxes, others)  # [N]
    union = (box_area(boxes) + box_area(others) - inter).clamp(min=eps)  # [N]
    hull_width, hull_height = hull_sides(boxes, others)
    hull = (hull_width * hull_height).clamp(min=eps)  # [N]
    return inter / union - (hull - union) / hull


def aligned_diou(boxes: Tensor, others: Tensor, *, eps: float = EPS) -> Tensor:
    """Distance IoU of corresponding boxes: minus centre distance over hull diagonal, squared.

    Args:
        boxes: [N, 4] xyxy in pixels.
        others: [N, 4] xyxy in pixels.
        eps: added to the union and to the squared diagonal.

    Returns:
        [N] in [-1, 1].
    """
    return _soft_iou(boxes, others, eps) - _center_penalty(boxes, others, eps)


def aligned_ciou(boxes: Tensor, others: Tensor, *, eps: float = EPS) -> Tensor:
    """Complete IoU of corresponding boxes: distance IoU minus a term for unlike aspect ratios.

    The published weight of that term, v / (1 - IoU + v), is 0 / 0 = NaN for a box with itself; here
    its denominator is at least `eps`, so the weight is 0 there. No gradient flows through it.

    Args:
        boxes: [N, 4] xyxy in pixels.
        others: [N, 4] xyxy in pixels.
        eps: added to the union, to the squared diagonal and to the heights.

    Returns:
        [N] in [-1, 1].
    """
    iou = _soft_iou(boxes, others, eps)  # [N]
    unlike = 4 / math.pi**2 * (_angle(others, eps) - _angle(boxes, eps)) ** 2  # [N]
    with torch.no_grad():
        trade_off = (iou > 0.5) * unlike / (1 - iou + unlike).clamp(min=eps)  # [N]
    return (iou - (_center_penalty(boxes, others, eps) + trade_off * unlike)).clamp(-1, 1)


def aligned_intersection(boxes: Tensor, others: Tensor) -> Tensor:
    """Area that corresponding boxes share.

    Args:
        boxes: [N, 4] xyxy in pixels.
        others: [N, 4] xyxy in pixels.

    Returns:
        [N] in square pixels, 0 where they do not meet.
    """
    x1, y1, x2, y2 = corners(boxes, "boxes")
    ox1, oy1, ox2, oy2 = corners(others, "others")
    width = (torch.minimum(x2, ox2) - torch.maximum(x1, ox1)).clamp(min=0)  # [N]
    height = (torch.minimum(y2, oy2) - torch.maximum(y1, oy1)).clamp(min=0)  # [N]
    return width * height


def hull_sides(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Width and height of the smallest boxes around corresponding boxes.

    Args:
        boxes: [N, 4] xyxy in pixels.
        others: [N, 4] xyxy in pixels.

    Returns:
        [N] and [N], in pixels, at least 0.
    """
    x1, y1, x2, y2 = corners(boxes, "boxes")
    ox1, oy1, ox2, oy2 = corners(others, "others")
    width = torch.maximum(x2, ox2) - torch.minimum(x1, ox1)  # [N]
    height = torch.maximum(y2, oy2) - torch.minimum(y1, oy1)  # [N]
    return width.clamp(min=0), height.clamp(min=0)


def _soft_iou(boxes: Tensor, others: Tensor, eps: float) -> Tensor:
    """[N] IoU with `eps` added to the union, as DIoU and CIoU were published."""
    inter = aligned_intersection(boxes, others)
    return inter / (box_area(boxes) + box_area(others) - inter + eps)


def _center_penalty(boxes: Tensor, others: Tensor, eps: float) -> Tensor:
    """[N] squared distance of the centres over the squared diagonal of the hull."""
    x1, y1, x2, y2 = corners(boxes)
    ox1, oy1, ox2, oy2 = corners(others)
    distance = ((ox1 + ox2) - (x1 + x2)) ** 2 / 4 + ((oy1 + oy2) - (y1 + y2)) ** 2 / 4  # [N]
    hull_width, hull_height = hull_sides(boxes, others)
    return distance / (hull_width**2 + hull_height**2 + eps)


def _angle(boxes: Tensor, eps: float) -> Tensor:
    """[N] arctangent of width over height."""
    x1, y1, x2, y2 = corners(boxes)
    return torch.atan((x2 - x1) / (y2 - y1 + eps))
