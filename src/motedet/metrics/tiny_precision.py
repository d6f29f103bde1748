"""Precision and recall by the rules of TinyPerson (Yu et al. 2020, arXiv 1912.10664).

They are those of COCO and one more: a detection that found nothing is excused by an ignored object
in which it lies for the most part. Objects outside of the size range are ignored, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from motedet.metrics.accumulate import interpolated_ap, rows_by_class
from motedet.metrics.entries import Bools, Floats, Ints
from motedet.metrics.matching import (
    JUST_BELOW_ONE,
    Judged,
    MatchPairs,
    Ranked,
    Wishes,
    outside,
    settle,
)
from motedet.metrics.overlaps import Overlaps
from motedet.metrics.tables import GroundTruthTable

THRESHOLDS: Final = (0.25, 0.5, 0.75)
AREAS: Final = {
    "all": (1.0, 1e10),
    "tiny": (1.0, 400.0),
    "tiny1": (1.0, 64.0),
    "tiny2": (64.0, 144.0),
    "tiny3": (144.0, 400.0),
    "small": (400.0, 1024.0),
    "reasonable": (1024.0, 1e10),
}

IoDThreshold = Literal["t", "2t/(1+t)"]
"""The smallest IoD that excuses a detection, by the IoU threshold t."""


@dataclass(frozen=True, slots=True)
class TinyCurves:
    """Ends of the curves for T thresholds, K classes and A area ranges; -1 without objects.

    Attributes:
        ap: [T, K, A] average precision.
        ar: [T, K, A] the highest recall.
    """

    ap: Floats
    ar: Floats


@dataclass(frozen=True, slots=True)
class TinyMatcher:
    """What is needed to judge D detections at any threshold and in any area range.

    Attributes:
        truth: G objects.
        ranked: D detections.
        ignored: [G] objects that count in no range.
        excused: [D] detections beyond the cap, which are not looked at.
        pairs: all that may match at the lowest threshold.
        excuses: of detections and the objects that may excuse them, with their IoD, best first.
        iod_threshold: None where nothing excuses.
    """

    truth: GroundTruthTable
    ranked: Ranked
    ignored: Bools
    excused: Bools
    pairs: MatchPairs
    excuses: MatchPairs
    iod_threshold: IoDThreshold | None

    @classmethod
    def of(
        cls,
        truth: GroundTruthTable,
        ranked: Ranked,
        *,
        overlaps: Overlaps,
        max_det: int,
        iod_threshold: IoDThreshold | None,
        ignore_uncertain: bool,
    ) -> "TinyMatcher":
        """Prepare what all thresholds and ranges share.

        Args:
            truth: G objects.
            ranked: D detections, at least `max_det` per image and class where there are so many.
            overlaps: of the two.
            max_det: cap on the detections per image and class.
            iod_threshold: when an ignored object excuses.
            ignore_uncertain: whether uncertain objects are ignored.
        """
        excused = ranked.rank >= max_det  # [D]
        overlaps = overlaps.without(excused)
        return cls(
            truth=truth,
            ranked=ranked,
            ignored=truth.crowd | truth.ignore | (truth.uncertain & ignore_uncertain),
            excused=excused,
            pairs=MatchPairs.of(overlaps, crowd=truth.crowd, threshold=min(THRESHOLDS)),
            excuses=_excuses(truth, ranked, overlaps, iod_threshold),
            iod_threshold=iod_threshold,
        )

    def judge(self, area: tuple[float, float]) -> Iterator[Judged]:
        """What becomes of the detections in an area range, one threshold after another.

        Args:
            area: smallest and largest area, both inside.
        """
        ignored = self.ignored | outside(self.truth.areas, area)  # [G]
        excused = self.excused | outside(self.ranked.table.areas, area)  # [D]
        rows = np.flatnonzero(ignored[self.excuses.gt])
        best = rows[np.diff(self.excuses.detection[rows], prepend=-1) > 0]  # one per detection
        for threshold in THRESHOLDS:
            near = self.pairs.overlap >= min(threshold, JUST_BELOW_ONE)
            least = smallest_iod(threshold, self.iod_threshold)
            enough = best[self.excuses.overlap[best] >= least]
            wishes = self._wishes(np.flatnonzero(near), enough, ignored)
            yield settle(wishes, self.truth, ignored=ignored, excused=excused)

    def _wishes(self, near: Ints, enough: Ints, ignored: Bools) -> Wishes:
        """The wishes of COCO's rules from rows of the pairs, and last those from the excuses."""
        detection = np.concatenate([self.pairs.detection[near], self.excuses.detection[enough]])
        gt = np.concatenate([self.pairs.gt[near], self.excuses.gt[enough]])  # [E]
        overlap = np.concatenate([self.pairs.overlap[near], self.excuses.overlap[enough]])
        excuse = np.arange(len(gt)) >= len(near)  # [E]
        order = np.argsort(3 * detection + np.where(excuse, 2, ignored[gt]), kind="stable")
        detection, gt, overlap, excuse = detection[order], gt[order], overlap[order], excuse[order]
        open_to_all = self.truth.crowd[gt]
        return Wishes(detection, gt, overlap, exclusive=~open_to_all & ~excuse, taking=~open_to_all)


def tiny_curves(matcher: TinyMatcher) -> TinyCurves:
    """Average precision and recall at every threshold, for every class and area range."""
    num_classes = matcher.truth.num_classes
    classes = rows_by_class(matcher.ranked.table, num_classes=num_classes)
    ends = np.empty((2, len(THRESHOLDS), num_classes, len(AREAS)))
    for a, area in enumerate(AREAS.values()):
        for t, judged in enumerate(matcher.judge(area)):
            for k, rows in enumerate(classes):
                ends[:, t, k, a] = interpolated_ap(
                    judged.positive[rows],
                    judged.false[rows],
                    num_objects=int(judged.num_objects[k]),
                )
    return TinyCurves(*ends)


def smallest_iod(threshold: float, rule: IoDThreshold | None) -> float:
    """The IoD from which a detection is excused; infinite where nothing excuses."""
    if rule is None:
        return np.inf
    t = min(threshold, JUST_BELOW_ONE)
    return t if rule == "t" else 2 * t / (1 + t)


def published_iod(overlap: Floats, *, object_areas: Floats, found_areas: Floats) -> Floats:
    """[E] the published formula for the share of a detection that is inside of an object.

    It is that share where `overlap` is an IoU and the object's area is that of its box.

    Args:
        overlap: [E].
        object_areas: [E] as the file says.
        found_areas: [E] width times height.
    """
    return overlap / (1 + overlap) * (1 + object_areas / found_areas)


def _excuses(
    truth: GroundTruthTable, ranked: Ranked, overlaps: Overlaps, rule: IoDThreshold | None
) -> MatchPairs:
    """Pairs with IoD enough for the lowest threshold, by detection, the highest and then first."""
    overlap = np.where(truth.crowd[overlaps.gt], overlaps.iod, overlaps.iou)  # [pairs]
    iod = published_iod(
        overlap,
        object_areas=truth.areas[overlaps.gt],
        found_areas=ranked.table.areas[overlaps.detection],
    )
    enough = np.flatnonzero(iod >= smallest_iod(min(THRESHOLDS), rule))  # [E]
    detection, gt, iod = overlaps.detection[enough], overlaps.gt[enough], iod[enough]
    order = np.lexsort((gt, -iod, detection))
    return MatchPairs(detection[order], gt[order], iod[order])
