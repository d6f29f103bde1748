"""Which detection finds which object: the greedy rule of COCO for all images at once.

Detections choose in the order of their scores, each the best object that is still free. That is
the stable matching in which every object prefers the higher score, so deferred acceptance finds
it in a few rounds over whole arrays, with no loop over images, detections or objects.
"""

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np

from motedet.metrics.tables import Bools, DetectionTable, Floats, GroundTruthTable, Ints

PAIRS_AT_ONCE: Final = 1 << 18  # a few arrays of this length stay in the cache
JUST_BELOW_ONE: Final = 1 - 1e-10  # the published evaluators' bound on a threshold


@dataclass(frozen=True, slots=True)
class Ranked:
    """Detections sorted by image, class and falling score, capped per image and class.

    Attributes:
        table: D detections.
        rank: [D] 0-based place within its image and class.
    """

    table: DetectionTable
    rank: Ints

    @classmethod
    def of(cls, found: DetectionTable, *, cap: int, num_classes: int) -> "Ranked":
        """Sort and cap; equal scores keep the order of the file.

        Args:
            found: in file order.
            cap: largest number of detections per image and class.
            num_classes: K.
        """
        group = found.image * num_classes + found.category  # [D]
        order = np.lexsort((-found.scores, group))
        rank = _place_in_run(group[order])
        kept = rank < cap
        return cls(found[order[kept]], rank[kept])


@dataclass(frozen=True, slots=True)
class MatchPairs:
    """Detections and objects of one image and class that overlap enough.

    Sorted by detection, then by falling overlap, then later objects first: the order in which a
    detection prefers objects.

    Attributes:
        detection: [E] row of the ranked detections.
        gt: [E] row of the ground truth.
        overlap: [E] IoU, or intersection over the detection's area for a crowd.
    """

    detection: Ints
    gt: Ints
    overlap: Floats


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of each detection in one area range.

    Attributes:
        positive: [D] found an object that counts.
        false: [D] found nothing. Those that are neither do not count.
        overlap: [D] with the object found, 0 where there is none.
        num_objects: [K] objects of each class that count.
    """

    positive: Bools
    false: Bools
    overlap: Floats
    num_objects: Ints


def match_pairs(truth: GroundTruthTable, found: DetectionTable, *, threshold: float) -> MatchPairs:
    """All pairs that may match at a threshold.

    Args:
        truth: G objects.
        found: D detections, sorted as `Ranked` does.
        threshold: smallest overlap.
    """
    num_classes = len(truth.category_ids)
    group = truth.image * num_classes + truth.category  # [G]
    by_group = np.argsort(group, kind="stable")  # [G]
    sizes = np.bincount(group, minlength=len(truth.image_ids) * num_classes)
    starts = sizes.cumsum() - sizes
    group_found = found.image * num_classes + found.category  # [D]
    per_detection, first = sizes[group_found], starts[group_found]  # [D], [D]
    ends = per_detection.cumsum()
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(PAIRS_AT_ONCE, total, PAIRS_AT_ONCE), side="right")
    bounds = np.unique([0, *cuts.tolist(), len(ends)]).tolist()
    parts = [_no_pairs()]
    for low, high in itertools.pairwise(bounds):
        count = per_detection[low:high]
        detection = np.repeat(np.arange(low, high), count)  # [pairs of this part]
        offset = np.arange(len(detection)) - np.repeat(count.cumsum() - count, count)
        gt = by_group[first[detection] + offset]
        overlap = _overlap(found.boxes_xywh[detection], truth.boxes_xywh[gt], truth.crowd[gt])
        near = overlap >= min(threshold, JUST_BELOW_ONE)
        parts.append(MatchPairs(detection[near], gt[near], overlap[near]))
    return _sorted(parts)


def judge(
    pairs: MatchPairs, truth: GroundTruthTable, found: DetectionTable, *, area: tuple[float, float]
) -> Judged:
    """Match within an area range and count.

    Args:
        pairs: of the threshold in question.
        truth: G objects; those outside the range and crowds are ignored.
        found: D detections, sorted as `Ranked` does.
        area: smallest and largest area, both inside.
    """
    low, high = area
    ignored = truth.crowd | (truth.areas < low) | (truth.areas > high)  # [G]
    row = match(pairs, ignored=ignored, crowd=truth.crowd, num_detections=len(found.scores))  # [D]
    matched = row >= 0
    gt = np.full(len(row), -1)
    gt[matched] = pairs.gt[row[matched]]  # [D]
    overlap = np.zeros(len(row))
    overlap[matched] = pairs.overlap[row[matched]]
    excused = np.zeros(len(row), dtype=np.bool_)
    excused[matched] = ignored[gt[matched]]  # [D]
    # The published evaluators store the match as the object's id, so 0 reads as "no match".
    known = matched.copy()
    known[matched] = ~truth.zero_id[gt[matched]]
    excused |= ~known & ((found.areas < low) | (found.areas > high))
    return Judged(
        positive=known & ~excused,
        false=~known & ~excused,
        overlap=overlap,
        num_objects=np.bincount(truth.category[~ignored], minlength=len(truth.category_ids)),
    )


def match(pairs: MatchPairs, *, ignored: Bools, crowd: Bools, num_detections: int) -> Ints:
    """Give each detection its object, best score first.

    Args:
        pairs: E candidates.
        ignored: [G] objects that a detection takes only if no other is free.
        crowd: [G] objects that any number of detections may take.
        num_detections: D.

    Returns:
        [D] row of the pair that matched, -1 where there is none.
    """
    wish = np.argsort(2 * pairs.detection + ignored[pairs.gt], kind="stable")  # [E]
    detection, gt = pairs.detection[wish], pairs.gt[wish]  # [E], [E]
    row = np.full(num_detections, -1)  # the wish that each detection holds
    holder = np.full(len(ignored), num_detections)  # the detection that each object holds
    active = np.flatnonzero(np.diff(detection, prepend=-1))  # first wish of each detection
    while len(active):
        applicant, wanted = detection[active], gt[active]
        row[applicant] = active
        before = holder[wanted]
        exclusive = ~crowd[wanted]
        np.minimum.at(holder, wanted[exclusive], applicant[exclusive])
        lost = exclusive & (holder[wanted] != applicant)
        displaced = before[exclusive & ~lost & (before < num_detections)]
        losers = np.concatenate([applicant[lost], displaced])
        following = row[losers] + 1
        row[losers] = -1
        more = following < len(detection)
        losers, following = losers[more], following[more]
        active = following[detection[following] == losers]
    matched = row >= 0
    row[matched] = wish[row[matched]]
    return row


def _place_in_run(values: Ints) -> Ints:
    """[N] 0-based position of each value within its run of equal neighbours."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    lengths = np.diff(starts, append=len(values))
    return np.arange(len(values)) - np.repeat(starts, lengths)


def _overlap(found: Floats, objects: Floats, crowd: Bools) -> Floats:
    """[E] IoU of [E, 4] xywh boxes, over the detection's own area for crowds."""
    low = np.maximum(found[:, :2], objects[:, :2])  # [E, 2]
    high = np.minimum(found[:, :2] + found[:, 2:], objects[:, :2] + objects[:, 2:])  # [E, 2]
    sides = (high - low).clip(min=0)
    inter = sides[:, 0] * sides[:, 1]  # [E]
    area = found[:, 2] * found[:, 3]
    union = np.where(crowd, area, area + objects[:, 2] * objects[:, 3] - inter)
    overlap = np.zeros(len(inter))
    np.divide(inter, union, out=overlap, where=inter > 0)
    return overlap


def _no_pairs() -> MatchPairs:
    empty = np.zeros(0, dtype=np.int64)
    return MatchPairs(empty, empty, np.zeros(0))


def _sorted(parts: list[MatchPairs]) -> MatchPairs:
    """The parts joined, in the order of preference."""
    detection = np.concatenate([part.detection for part in parts])
    gt = np.concatenate([part.gt for part in parts])
    overlap = np.concatenate([part.overlap for part in parts])
    order = np.lexsort((-gt, -overlap, detection))
    return MatchPairs(detection[order], gt[order], overlap[order])
