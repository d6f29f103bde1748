"""The VisDrone-DET protocol (Zhu et al. 2021, arXiv 2001.06303), by a description of its toolkit.

The toolkit is MATLAB and was not run: these numbers have not been compared with its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import numpy as np

from motedet.metrics.accumulate import area_under_curve, rows_by_class
from motedet.metrics.caps import check_caps, image_cap_notes
from motedet.metrics.entries import Bools, Entry, Floats, Ints, uncollected
from motedet.metrics.ignored_regions import find_regions, inside_regions, scored_classes
from motedet.metrics.matching import Ranked, absorbing_wishes, settle
from motedet.metrics.overlaps import find_overlaps
from motedet.metrics.precision import IOU_THRESHOLDS
from motedet.metrics.scores import Scores, class_rows
from motedet.metrics.stamp import Stamp
from motedet.metrics.tables import DetectionTable, GroundTruthTable


@dataclass(frozen=True, kw_only=True)
class VisDroneProtocol:
    """AP, AP50, AP75, and AR at up to 1, 10, 100 and 500 detections of an image.

    Caps are on the detections of all classes of an image together. Objects with `iscrowd` or
    `ignore` (those of score 0 in the original files) are ignored, yet are part of the number that
    recall is divided by. A class without objects counts as 0.

    Attributes:
        max_dets: caps on the detections per image; AP uses the largest.
        drop_in_regions: leave out objects and detections with half of their area or more in
            ignored regions; one revision of the toolkit does not, and the regions have no effect.
    """

    headline: ClassVar[str] = "AP"

    kind: Literal["visdrone"] = "visdrone"
    max_dets: tuple[int, ...] = (1, 10, 100, 500)
    drop_in_regions: bool = True

    def __post_init__(self) -> None:
        """Reject caps that do not ascend."""
        check_caps(self.max_dets)

    @uncollected()
    def score(self, ground_truth: Mapping[str, object], detections: Sequence[Entry]) -> Scores:
        """All numbers of the protocol, and those of each class.

        Args:
            ground_truth: a COCO dictionary. Ignored regions are annotations of a class of that
                name, or crowds that are listed for every class.
            detections: COCO results, boxes xywh in pixels; may be empty.

        Raises:
            DataError: naming the entry that cannot be used.
        """
        read = GroundTruthTable.of(ground_truth).renumbered()
        found = DetectionTable.of(detections, read)
        region = find_regions(read)  # [G]
        regions, truth = read[region], read[~region]
        if self.drop_in_regions:
            truth = truth[~_inside(truth, regions)]
            found = found[~_inside(found, regions)]
        classes = np.flatnonzero(scored_classes(truth))
        ap, ar = _curves(truth, found, classes=classes, max_dets=self.max_dets)
        columns = {"AP": ap.mean(axis=0), "AP50": ap[0], "AP75": ap[5]}
        columns |= {f"AR@{cap}": ar[m].mean(axis=0) for m, cap in enumerate(self.max_dets)}
        names = tuple(truth.classes[k] for k in classes.tolist())
        return Scores(
            values={name: float(column.mean()) for name, column in columns.items()},
            per_class=class_rows(names, columns),
            notes=(
                *truth.notes,
                *_absent_notes(truth, classes),
                *image_cap_notes(found, cap=self.max_dets[-1], truth=truth),
            ),
            stamp=Stamp.of(asdict(self), read, caps=self.max_dets),
        )


def _inside(table: GroundTruthTable | DetectionTable, regions: GroundTruthTable) -> Bools:
    """[N] what lies in the ignored regions of its image."""
    return inside_regions(
        table.boxes_xywh,
        table.image,
        regions_xywh=regions.boxes_xywh,
        region_image=regions.image,
    )


def _curves(
    truth: GroundTruthTable, found: DetectionTable, *, classes: Ints, max_dets: Sequence[int]
) -> tuple[Floats, Floats]:
    """Average precision [T, K] at the largest cap and the highest recall [M, T, K] at each.

    Args:
        truth: G objects.
        found: D detections in file order.
        classes: [K] rows of the classes to score.
        max_dets: M caps on the detections per image, ascending.
    """
    ranked = Ranked.over_classes(found, cap=max_dets[-1])
    rows = rows_by_class(ranked.table, num_classes=truth.num_classes)
    ignored = truth.crowd | truth.ignore  # [G]
    none = np.zeros(len(ranked.rank), dtype=np.bool_)
    total = np.bincount(truth.category, minlength=truth.num_classes).tolist()  # ignored ones, too
    ap = np.empty((len(IOU_THRESHOLDS), len(classes)))
    ar = np.empty((len(max_dets), *ap.shape))
    overlaps = find_overlaps(truth, ranked.table)
    wishes = absorbing_wishes(overlaps, ignored=ignored, thresholds=IOU_THRESHOLDS.tolist())
    for t, wished in enumerate(wishes):
        judged = settle(wished, truth, ignored=ignored, excused=none)
        for column, k in enumerate(classes.tolist()):
            for m, cap in enumerate(max_dets):
                kept = rows[k][ranked.rank[rows[k]] < cap]
                ap[t, column], ar[m, t, column] = area_under_curve(
                    judged.positive[kept], judged.false[kept], num_objects=total[k]
                )
    return ap, ar


def _absent_notes(truth: GroundTruthTable, classes: Ints) -> tuple[str, ...]:
    """A sentence on classes without objects, if there are any."""
    absent = [truth.classes[k] for k in np.setdiff1d(classes, truth.category).tolist()]
    if not absent:
        return ()
    return (f"no objects of {', '.join(absent)}: they count as 0 in the means.",)
