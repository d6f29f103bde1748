"""The COCO measures in size bins of one's own."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from motedet.metrics.caps import cap_notes, check_caps
from motedet.metrics.entries import Entry, uncollected
from motedet.metrics.precision import ANY_SIZE, AreaRange, precision_recall
from motedet.metrics.scores import Scores, class_rows
from motedet.metrics.stamp import Stamp
from motedet.metrics.tables import DetectionTable, GroundTruthTable


@dataclass(frozen=True, kw_only=True)
class BinsProtocol:
    """AP and AR by the rules of COCO, by size in bins that the user chooses.

    Sides of 2, 8 and 16 make `AP_2_8`, `AP_8_16` and `AP_16+`, and the same of AP50 and AR. The
    size of an object is the square root of its area. As in COCO an object exactly on a side is in
    both bins.

    Attributes:
        sides: where bins begin, in pixels, ascending; the last has no upper end.
        max_dets: caps on the detections per image and class; all but the AR columns use the
            largest.
    """

    headline: ClassVar[str] = "AP"

    kind: Literal["bins"] = "bins"
    sides: tuple[float, ...] = (2.0, 8.0, 16.0, 32.0)
    max_dets: tuple[int, ...] = (1, 100, 1500)

    def __post_init__(self) -> None:
        """Reject sides and caps that do not ascend."""
        check_caps(self.max_dets)
        ascending = all(a < b for a, b in itertools.pairwise(self.sides))
        if not self.sides or self.sides[0] < 0 or not ascending:
            raise ValueError(
                f"sides of size bins must ascend from 0 or more, such as 2,8,16,32; "
                f"got {','.join(f'{side:g}' for side in self.sides) or 'none'}."
            )

    @property
    def areas(self) -> dict[str, AreaRange]:
        """Name of each bin to its smallest and largest area, both inside."""
        squares = [side**2 for side in self.sides]
        ends = [f"_{a:g}_{b:g}" for a, b in itertools.pairwise(self.sides)]
        names = [*ends, f"_{self.sides[-1]:g}+"]
        return dict(
            zip(names, itertools.pairwise([*squares, max(ANY_SIZE[1], squares[-1])]), strict=True)
        )

    @uncollected()
    def score(self, ground_truth: Mapping[str, object], detections: Sequence[Entry]) -> Scores:
        """All numbers, and AP of each class.

        Args:
            ground_truth: a COCO dictionary.
            detections: COCO results, boxes xywh in pixels; may be empty.

        Raises:
            DataError: naming the entry that cannot be used.
        """
        truth = GroundTruthTable.of(ground_truth)
        found = DetectionTable.of(detections, truth)
        areas = (ANY_SIZE, *self.areas.values())
        curves = precision_recall(truth, found, areas=areas, max_dets=self.max_dets)
        bins = [*enumerate(self.areas, start=1)]
        values = {
            "AP": curves.ap(),
            "AP50": curves.ap(iou=0.5),
            "AP75": curves.ap(iou=0.75),
            **{f"AP{name}": curves.ap(area=a) for a, name in bins},
            **{f"AP50{name}": curves.ap(iou=0.5, area=a) for a, name in bins},
            **curves.ar_by_cap(),
            **{f"AR{name}": curves.ar(area=a) for a, name in bins},
        }
        columns = {"AP": curves.class_ap(), "AP50": curves.class_ap(iou=0.5)}
        return Scores(
            values=values,
            per_class=class_rows(truth.classes, columns),
            notes=(*truth.notes, *cap_notes(found, cap=self.max_dets[-1], truth=truth)),
            stamp=Stamp.of(asdict(self), truth, caps=self.max_dets),
        )
