"""TinyPerson's miss rate: objects missed at nine rates of false positives per image (FPPI).

The measure of the Caltech and CityPersons benchmarks (Dollár et al. 2012; Zhang et al. 2017,
arXiv 1702.05693) with the sizes of TinyPerson.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from motedet.metrics.accumulate import recall_at, rows_by_class
from motedet.metrics.entries import Bools, Floats, Ints
from motedet.metrics.matching import Ranked, absorbing_wishes, outside, settle
from motedet.metrics.overlaps import Overlaps
from motedet.metrics.scores import UNDEFINED
from motedet.metrics.tables import GroundTruthTable
from motedet.metrics.tiny_precision import THRESHOLDS, published_iod

SIZES: Final = {
    "tiny1": (2.0, 8.0),
    "tiny2": (8.0, 12.0),
    "tiny3": (12.0, 20.0),
    "tiny": (2.0, 20.0),
    "small": (20.0, 32.0),
    "all": (-1.0, 1e10),
}
FPPI: Final = 10.0 ** (np.arange(9) / 4 - 2)
SIZE_MARGIN: Final = 1.25  # detections may be so much smaller or larger than the objects
LEAST_VISIBLE: Final = 0.65
LEAST_INSIDE: Final = 0.5  # of a detection in an ignored object, at any threshold


@dataclass(frozen=True, kw_only=True)
class MissRate:
    """How the miss rate is taken.

    Attributes:
        max_det: cap on the detections per image and class.
        unreached: the recall at a rate of false positives that the curve has passed from its first
            point on: "published" takes the highest recall of the whole curve, an index of -1, and
            "zero" none. They differ only below 100 images.
        excuse: when an ignored object excuses a detection that has not the overlap to match it:
            "published" puts intersection over the detection's area into a formula meant for IoU,
            which large objects pass nearly always; "inside" asks for half of the detection.
    """

    max_det: int = 1000
    unreached: Literal["published", "zero"] = "published"
    excuse: Literal["published", "inside"] = "published"

    def __post_init__(self) -> None:
        """Reject a cap that leaves nothing."""
        if self.max_det < 1:
            raise ValueError(f"max_det must be at least 1; got {self.max_det}.")


@dataclass(frozen=True, slots=True)
class MissCurves:
    """Recalls for S sizes, T thresholds, R rates of false positives and K classes.

    Attributes:
        recall: [S, T, R, K] -1 where a class has no objects of a size.
        num_objects: [S, K] that are to be found.
        passed: whether the first detection of a curve already goes beyond one of the rates.
    """

    recall: Floats
    num_objects: Ints
    passed: bool

    def values(self) -> dict[str, float]:
        """`MR25_tiny1` and so on: geometric means over rates and classes, as fractions."""
        return {
            f"MR{threshold * 100:.0f}_{name}": _miss_rate(self.recall[s, t])
            for t, threshold in enumerate(THRESHOLDS)
            for s, name in enumerate(SIZES)
        }

    def class_rates(self, *, iou: float, size: str) -> Floats:
        """[K] the miss rate of each class.

        Args:
            iou: one of the thresholds.
            size: one of the names of `SIZES`.
        """
        recall = self.recall[list(SIZES).index(size), THRESHOLDS.index(iou)]  # [R, K]
        return np.array([_miss_rate(column) for column in recall.T])


def miss_curves(
    truth: GroundTruthTable,
    ranked: Ranked,
    *,
    overlaps: Overlaps,
    rules: MissRate,
    ignore_uncertain: bool,
) -> MissCurves:
    """The recalls at all rates of false positives.

    Args:
        truth: G objects.
        ranked: D detections, at least `max_det` per image and class where there are so many.
        overlaps: of the two.
        rules: how the miss rate is taken.
        ignore_uncertain: whether uncertain objects are ignored.
    """
    classes = rows_by_class(ranked.table, num_classes=truth.num_classes)
    shape = (len(SIZES), len(THRESHOLDS), len(FPPI), truth.num_classes)
    recall, highest = np.full(shape, UNDEFINED), np.zeros(shape)
    num_objects = np.zeros((len(SIZES), truth.num_classes), dtype=np.int64)
    flagged = truth.ignore | (truth.uncertain & ignore_uncertain)  # [G]
    for s, limits in enumerate(SIZES.values()):
        dropped = _of_other_sizes(ranked, limits) | (ranked.rank >= rules.max_det)  # [D]
        ignored = flagged | outside(truth.sizes, limits) | (truth.visibility < LEAST_VISIBLE)
        near = overlaps.without(dropped)
        excused = _excused(truth, ranked, near, rules)
        wishes = absorbing_wishes(near, ignored=ignored, thresholds=THRESHOLDS, excused=excused)
        for t, wished in enumerate(wishes):
            judged = settle(wished, truth, ignored=ignored, excused=dropped)
            num_objects[s] = judged.num_objects
            for k in np.flatnonzero(judged.num_objects).tolist():
                rows = classes[k][~dropped[classes[k]]]  # ignored detections stay in the curve
                recall[s, t, :, k], highest[s, t, :, k] = recall_at(
                    FPPI,
                    judged.positive[rows],
                    judged.false[rows],
                    num_objects=int(judged.num_objects[k]),
                    num_images=len(truth.image_ids),
                )
    passed = np.isnan(recall)  # [S, T, R, K]
    instead = highest if rules.unreached == "published" else np.zeros(shape)
    return MissCurves(np.where(passed, instead, recall), num_objects, bool(passed.any()))


def _of_other_sizes(ranked: Ranked, limits: tuple[float, float]) -> Bools:
    """[D] detections much smaller or larger than the objects of a size."""
    low, high = limits
    sizes = np.sqrt(ranked.table.areas)  # [D]
    return (sizes < low / SIZE_MARGIN) | (sizes >= high * SIZE_MARGIN)


def _excused(truth: GroundTruthTable, ranked: Ranked, overlaps: Overlaps, rules: MissRate) -> Bools:
    """[E] whether the object of a pair, if ignored, excuses the detection at any threshold."""
    if rules.excuse == "inside":
        return overlaps.iod >= LEAST_INSIDE
    formula = published_iod(
        overlaps.iod,
        object_areas=truth.areas[overlaps.gt],
        found_areas=ranked.table.areas[overlaps.detection],
    )
    return formula > LEAST_INSIDE


def _miss_rate(recall: Floats) -> float:
    """Geometric mean of the shares missed over [R, K] recalls; -1 where no class has objects.

    A recall of 1 makes it 0.
    """
    defined = recall[recall > UNDEFINED]
    if not defined.size:
        return UNDEFINED
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(1 - defined).mean()))
