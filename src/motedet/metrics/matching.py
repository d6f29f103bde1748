"""Which detection finds which object: the greedy rules of the protocols for all images at once.

Detections choose in the order of their scores, each the best object that is still free. That is
the stable matching in which every object prefers the higher score, so deferred acceptance finds
it in a few rounds over whole arrays, with no loop over images, detections or objects.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from motedet.metrics.entries import Bools, Floats, Ints
from motedet.metrics.overlaps import Overlaps, find_overlaps
from motedet.metrics.tables import DetectionTable, GroundTruthTable

JUST_BELOW_ONE: Final = 1 - 1e-10  # the published evaluators' bound on a threshold


@dataclass(frozen=True, slots=True)
class Ranked:
    """Detections sorted by image, class and falling score, as far as a cap allows.

    Attributes:
        table: D detections.
        rank: [D] 0-based place within what the cap is for, an image and class.
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
        rank = place_in_run(group[order])
        kept = rank < cap
        return cls(found[order[kept]], rank[kept])

    @classmethod
    def over_classes(cls, found: DetectionTable, *, cap: int) -> "Ranked":
        """Sort, and cap per image over all classes; the rank is the place within the image.

        Args:
            found: in file order.
            cap: largest number of detections per image.
        """
        order = np.lexsort((-found.scores, found.image))
        rank = place_in_run(found.image[order])
        order, rank = order[rank < cap], rank[rank < cap]
        by_class = np.lexsort((found.category[order], found.image[order]))
        return cls(found[order[by_class]], rank[by_class])


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

    @classmethod
    def of(cls, overlaps: Overlaps, *, crowd: Bools, threshold: float) -> "MatchPairs":
        """The pairs that may match at a threshold, in order.

        Args:
            overlaps: all pairs with area in common.
            crowd: [G].
            threshold: smallest overlap.
        """
        overlap = np.where(crowd[overlaps.gt], overlaps.iod, overlaps.iou)  # [pairs]
        near = np.flatnonzero(overlap >= min(threshold, JUST_BELOW_ONE))  # [E]
        detection, gt, overlap = overlaps.detection[near], overlaps.gt[near], overlap[near]
        order = np.lexsort((-gt, -overlap, detection))
        return cls(detection[order], gt[order], overlap[order])


@dataclass(frozen=True, slots=True)
class Wishes:
    """What each detection wants, best first.

    Sorted by detection, then by preference.

    Attributes:
        detection: [E] row of the ranked detections.
        gt: [E] row of the ground truth.
        overlap: [E] of the two.
        exclusive: [E] whether the object must be free.
        taking: [E] whether the object is taken afterwards; so are all exclusive ones.
    """

    detection: Ints
    gt: Ints
    overlap: Floats
    exclusive: Bools
    taking: Bools

    @classmethod
    def of(cls, pairs: MatchPairs, *, ignored: Bools, crowd: Bools) -> "Wishes":
        """The wishes of the COCO rules.

        Args:
            pairs: E candidates.
            ignored: [G] objects that a detection takes only if no other is free.
            crowd: [G] objects that any number of detections may take.
        """
        order = np.argsort(2 * pairs.detection + ignored[pairs.gt], kind="stable")  # [E]
        gt = pairs.gt[order]
        exclusive = ~crowd[gt]
        return cls(pairs.detection[order], gt, pairs.overlap[order], exclusive, exclusive)


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
    return MatchPairs.of(find_overlaps(truth, found), crowd=truth.crowd, threshold=threshold)


def judge(
    pairs: MatchPairs, truth: GroundTruthTable, found: DetectionTable, *, area: tuple[float, float]
) -> Judged:
    """Match within an area range by the COCO rules, and count.

    Args:
        pairs: of the threshold in question.
        truth: G objects; those outside the range and crowds are ignored.
        found: D detections, sorted as `Ranked` does.
        area: smallest and largest area, both inside.
    """
    ignored = truth.crowd | outside(truth.areas, area)  # [G]
    wishes = Wishes.of(pairs, ignored=ignored, crowd=truth.crowd)
    return settle(wishes, truth, ignored=ignored, excused=outside(found.areas, area))


def absorbing_wishes(
    overlaps: Overlaps,
    *,
    ignored: Bools,
    thresholds: Iterable[float],
    excused: Bools | None = None,
) -> Iterator[Wishes]:
    """The wishes of rules by which ignored objects take in any number of detections.

    Ignored objects come last, and their overlap is intersection over the detection's area.

    Args:
        overlaps: E pairs with area in common.
        ignored: [G].
        thresholds: smallest overlaps, one after another.
        excused: [E] pairs that are enough without the overlap, if the object is ignored.

    Yields:
        Those of each threshold.
    """
    free = ~ignored[overlaps.gt]  # [E]
    overlap = np.where(free, overlaps.iou, overlaps.iod)
    always = np.zeros_like(free) if excused is None else excused & ~free
    order = np.lexsort((-overlaps.gt, -overlap, ~free, overlaps.detection))
    for threshold in thresholds:
        near = (overlap >= min(threshold, JUST_BELOW_ONE)) | always
        rows = order[near[order]]
        detection, gt, taken = overlaps.detection[rows], overlaps.gt[rows], free[rows]
        yield Wishes(detection, gt, overlap[rows], exclusive=taken, taking=taken)


def outside(areas: Floats, area: tuple[float, float]) -> Bools:
    """[N] whether each of [N] areas is outside a range, both of whose ends are inside."""
    low, high = area
    return (areas < low) | (areas > high)


def settle(wishes: Wishes, truth: GroundTruthTable, *, ignored: Bools, excused: Bools) -> Judged:
    """Match by any rules, and count.

    Args:
        wishes: of D detections.
        truth: G objects.
        ignored: [G] objects that do not count, nor do detections that take them.
        excused: [D] detections that do not count if they find nothing.
    """
    row = match(wishes, num_detections=len(excused), num_objects=len(ignored))  # [D]
    matched = row >= 0
    gt = wishes.gt[row[matched]]  # [matched]
    overlap = np.zeros(len(row))
    overlap[matched] = wishes.overlap[row[matched]]
    # The published evaluators store the match as the object's id, so 0 reads as "no match".
    known = matched.copy()
    known[matched] = ~truth.zero_id[gt]
    uncounted = ~known & excused
    uncounted[matched] |= ignored[gt]
    return Judged(
        positive=known & ~uncounted,
        false=~known & ~uncounted,
        overlap=overlap,
        num_objects=np.bincount(truth.category[~ignored], minlength=truth.num_classes),
    )


def match(wishes: Wishes, *, num_detections: int, num_objects: int) -> Ints:
    """Give each detection its object, best score first.

    Args:
        wishes: E of them.
        num_detections: D.
        num_objects: G.

    Returns:
        [D] the wish that came true, -1 where there is none.
    """
    detection, gt = wishes.detection, wishes.gt  # [E], [E]
    row = np.full(num_detections, -1)  # the wish that each detection holds
    first_taker = np.full(num_objects, num_detections)  # the best detection that took each object
    active = np.flatnonzero(np.diff(detection, prepend=-1))  # first wish of each detection
    while len(active):
        row[detection[active]] = active
        takers = active[wishes.taking[active]]
        touched = gt[takers]
        before = first_taker[touched]
        np.minimum.at(first_taker, touched, detection[takers])
        displaced = np.unique(before[(before < num_detections) & (before > first_taker[touched])])
        holders = np.concatenate([active, row[displaced]])
        holders = holders[wishes.exclusive[holders]]
        lost = holders[first_taker[gt[holders]] < detection[holders]]
        row[detection[lost]] = -1
        following = lost + 1
        following = following[following < len(detection)]
        active = following[detection[following] == detection[following - 1]]
    return row


def place_in_run(values: Ints) -> Ints:
    """[N] 0-based position of each value within its run of equal neighbours."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    lengths = np.diff(starts, append=len(values))
    return np.arange(len(values)) - np.repeat(starts, lengths)
