"""Which detection found which object in one image: the greedy rule of COCO, in numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motedet.report.sizes import FloatArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Matches:
    """The outcome for one image.

    Attributes:
        gt_index: [D] int64, the object that each detection found, -1 for none.
        iou: [D], overlap with that object, 0 for none.
        missed: [G] bool, objects that nothing found.
    """

    gt_index: IntArray
    iou: NDArray[np.float64]
    missed: NDArray[np.bool_]


def match_greedily(
    boxes: FloatArray,
    labels: IntArray,
    *,
    gt_boxes: FloatArray,
    gt_labels: IntArray,
    match_iou: float,
) -> Matches:
    """Let every detection, best first, take the free object of its class that it overlaps most.

    A detection's outcome does not depend on those after it, so leaving out low scores later
    changes nothing for the rest.

    Args:
        boxes: [D, 4] xyxy, by descending score.
        labels: [D].
        gt_boxes: [G, 4] xyxy.
        gt_labels: [G].
        match_iou: least overlap in 0-1.
    """
    iou = np.where(labels[:, None] == gt_labels[None, :], overlaps(boxes, gt_boxes), 0.0)  # [D, G]
    gt_index = np.full(len(boxes), -1, dtype=np.int64)
    found_iou = np.zeros(len(boxes))
    missed = np.ones(len(gt_boxes), dtype=np.bool_)
    for row in np.flatnonzero((iou >= match_iou).any(axis=1)):
        free = np.where(missed, iou[row], 0.0)  # [G]
        best = int(free.argmax())
        if free[best] >= match_iou:
            gt_index[row], found_iou[row], missed[best] = best, free[best], False
    return Matches(gt_index, found_iou, missed)


def overlaps(boxes: FloatArray, others: FloatArray) -> NDArray[np.float64]:
    """Intersection over union, [N, M]; 0 where both areas are 0.

    Args:
        boxes: [N, 4] xyxy.
        others: [M, 4] xyxy.
    """
    inter = _intersections(boxes, others)
    union = _areas(boxes)[:, None] + _areas(others)[None, :] - inter  # [N, M]
    return inter / np.where(union > 0, union, 1.0)


def covered(boxes: FloatArray, regions: FloatArray) -> NDArray[np.float64]:
    """The largest share of each box that lies in one of the regions, [N].

    Args:
        boxes: [N, 4] xyxy.
        regions: [M, 4] xyxy.
    """
    area = _areas(boxes)
    share = _intersections(boxes, regions) / np.where(area > 0, area, 1.0)[:, None]  # [N, M]
    largest: NDArray[np.float64] = share.max(axis=1, initial=0.0)
    return largest


def _intersections(boxes: FloatArray, others: FloatArray) -> NDArray[np.float64]:
    """Common area, [N, M]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])  # [N, M, 2]
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])  # [N, M, 2]
    area: NDArray[np.float64] = (high - low).clip(min=0).astype(np.float64).prod(axis=-1)
    return area


def _areas(boxes: FloatArray) -> NDArray[np.float64]:
    """Areas, [N]; inverted boxes have none."""
    area: NDArray[np.float64] = (
        (boxes[:, 2:] - boxes[:, :2]).clip(min=0).astype(np.float64).prod(axis=1)
    )
    return area
