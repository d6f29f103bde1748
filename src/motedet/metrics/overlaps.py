"""Which detections and objects overlap: a sweep along x over all images and classes at once."""

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np

from motedet.metrics.entries import Bools, Floats, Ints
from motedet.metrics.tables import DetectionTable, GroundTruthTable

PAIRS_AT_ONCE: Final = 1 << 18  # a few arrays of this length stay in the cache


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Pairs of a detection and an object of its image and class that have area in common.

    Sorted by detection.

    Attributes:
        detection: [E] row of the detections.
        gt: [E] row of the ground truth.
        iou: [E] intersection over union, above 0.
        iod: [E] intersection over the detection's area, above 0.
    """

    detection: Ints
    gt: Ints
    iou: Floats
    iod: Floats

    def without(self, dropped: Bools) -> "Overlaps":
        """The pairs of other detections than those of a [D] mask."""
        kept = np.flatnonzero(~dropped[self.detection])
        return Overlaps(self.detection[kept], self.gt[kept], self.iou[kept], self.iod[kept])


def find_overlaps(truth: GroundTruthTable, found: DetectionTable) -> Overlaps:
    """All pairs that have area in common.

    Args:
        truth: G objects.
        found: D detections.
    """
    by_left, first, count = _side_by_side(truth, found)
    ends = count.cumsum()  # [D]
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(PAIRS_AT_ONCE, total, PAIRS_AT_ONCE), side="right")
    bounds = np.unique([0, *cuts.tolist(), len(ends)]).tolist()
    parts = []
    for low, high in itertools.pairwise(bounds):
        some = count[low:high]
        detection = np.repeat(np.arange(low, high), some)  # [pairs of this part]
        offset = np.arange(len(detection)) - np.repeat(some.cumsum() - some, some)
        gt = by_left[first[detection] + offset]
        parts.append(_overlapping(truth, found, detection=detection, gt=gt))
    empty = np.zeros(0, dtype=np.int64)
    columns = zip((empty, empty, np.zeros(0), np.zeros(0)), *parts, strict=True)
    return Overlaps(*(np.concatenate(column) for column in columns))


def _side_by_side(truth: GroundTruthTable, found: DetectionTable) -> tuple[Ints, Ints, Ints]:
    """Per detection the objects of its group that it may meet along x, as a run of a sorted list.

    The objects of a group (an image and class) are sorted by their left sides. Those that begin
    before a detection ends are a first part of the list; those from where any side so far reaches
    beyond the detection's begin are a last part.

    Returns:
        [G] the list; [D] where each run starts; [D] its length. Some of it may not overlap.
    """
    groups = [
        table.image * truth.num_classes + table.category for table in (truth, found)
    ]  # [G], [D]
    left = [truth.boxes_xywh[:, 0], found.boxes_xywh[:, 0]]
    right = [left[0] + truth.boxes_xywh[:, 2], left[1] + found.boxes_xywh[:, 2]]
    sides = np.concatenate([*left, *right])  # [2 G + 2 D]
    ranks = np.unique(sides, return_inverse=True)[1].reshape(-1)
    keys = np.tile(np.concatenate(groups), 2) * len(sides) + ranks  # groups, and x within them
    cuts = np.cumsum([len(left[0]), len(left[1]), len(right[0])])
    gt_left, found_left, gt_right, found_right = np.split(keys, cuts)
    by_left = np.argsort(gt_left)  # [G]
    reached = np.maximum.accumulate(gt_right[by_left])  # [G]
    first = np.searchsorted(reached, found_left, side="right")  # [D]
    last = np.searchsorted(gt_left[by_left], found_right, side="left")  # [D]
    return by_left, first, (last - first).clip(min=0)


def _overlapping(
    truth: GroundTruthTable, found: DetectionTable, *, detection: Ints, gt: Ints
) -> tuple[Ints, Ints, Floats, Floats]:
    """Those of some pairs that have area in common, and how much of it."""
    boxes, others = found.boxes_xywh[detection], truth.boxes_xywh[gt]  # [E, 4], [E, 4]
    low = np.maximum(boxes[:, :2], others[:, :2])  # [E, 2]
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])  # [E, 2]
    sides = (high - low).clip(min=0)
    inter = sides[:, 0] * sides[:, 1]  # [E]
    near = np.flatnonzero(inter)
    inter, boxes, others = inter[near], boxes[near], others[near]
    area = boxes[:, 2] * boxes[:, 3]
    union = area + others[:, 2] * others[:, 3] - inter
    return detection[near], gt[near], inter / union, inter / area
