"""Optimal localisation-recall-precision error (Oksuz et al. 2018, arXiv 1807.01696)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from motedet.metrics.entries import Floats, Ints
from motedet.metrics.matching import Judged, Ranked, judge, match_pairs
from motedet.metrics.scores import UNDEFINED, mean_defined
from motedet.metrics.tables import DetectionTable, GroundTruthTable

TAU: Final = 0.5  # the first COCO threshold
PARTS: Final = 5


@dataclass(frozen=True, slots=True)
class OptimalLRP:
    """The error at its best score threshold, for K classes, A area ranges and M caps.

    All are -1 where a class has no objects in the range, and nan where there is no value.

    Attributes:
        error: [K, A, M] in [0, 1]; 1 where nothing was found.
        localisation: [K, A, M] 1 - mean IoU of what was found, in [0, 0.5].
        false_positives: [K, A, M] their share among the detections above the threshold.
        false_negatives: [K, A, M] the share of objects missed.
        threshold: [K, A, M] the score at which the error is least.
    """

    error: Floats
    localisation: Floats
    false_positives: Floats
    false_negatives: Floats
    threshold: Floats

    def summary(self) -> dict[str, float]:
        """Means over the classes, all sizes, at the largest cap."""
        return {
            "oLRP": mean_defined(self.error[:, 0, -1]),
            "oLRP_Loc": mean_defined(self.localisation[:, 0, -1]),
            "oLRP_FP": mean_defined(self.false_positives[:, 0, -1]),
            "oLRP_FN": mean_defined(self.false_negatives[:, 0, -1]),
        }


def optimal_lrp(
    truth: GroundTruthTable,
    found: DetectionTable,
    *,
    areas: Sequence[tuple[float, float]],
    max_dets: Sequence[int],
) -> OptimalLRP:
    """The optimal error of every class, area range and cap.

    Args:
        truth: G objects.
        found: D detections in file order.
        areas: A ranges.
        max_dets: M caps on the detections per image and class, ascending.
    """
    num_classes = len(truth.category_ids)
    ranked = Ranked.of(found, cap=max(max_dets), num_classes=num_classes)
    pairs = match_pairs(truth, ranked.table, threshold=TAU)
    order = np.lexsort((-ranked.table.scores, ranked.table.category))  # [D] class by class
    bounds = np.searchsorted(ranked.table.category[order], np.arange(num_classes + 1))
    table = np.empty((PARTS, num_classes, len(areas), len(max_dets)))
    for a, area in enumerate(areas):
        judged = judge(pairs, truth, ranked.table, area=area)
        for k in range(num_classes):
            rows = order[bounds[k] : bounds[k + 1]]  # [detections of the class]
            for m, cap in enumerate(max_dets):
                kept = rows[ranked.rank[rows] < cap]
                table[:, k, a, m] = _optimum(
                    judged, kept, ranked.table.scores[kept], int(judged.num_objects[k])
                )
    return OptimalLRP(*table)


def _optimum(judged: Judged, rows: Ints, scores: Floats, num_objects: int) -> Floats:
    """[5] error, its three parts and the threshold, for the rows of one class, best score first."""
    if num_objects == 0:
        return np.full(PARTS, UNDEFINED)
    positive = judged.positive[rows]  # [N]
    if not positive.any():
        return np.array([1.0, np.nan, np.nan, 1.0, np.nan])
    tp = positive.cumsum()  # [N]
    fp = judged.false[rows].cumsum()  # [N]
    distance = tp - np.where(positive, judged.overlap[rows], 0.0).cumsum()  # [N] sum of 1 - IoU
    missed = num_objects - tp
    error = (distance / (1 - TAU) + fp + missed) / (tp + fp + missed)
    best = int(error.argmin())
    at_tp, at_fp = int(tp[best]), int(fp[best])
    return np.array(
        [
            error[best],
            distance[best] / at_tp if at_tp else np.nan,
            at_fp / (at_tp + at_fp) if at_tp + at_fp else np.nan,
            missed[best] / num_objects,
            scores[best],
        ]
    )
