"""The COCO protocol (Lin et al. 2014, arXiv 1405.0312)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Final, Literal

from motedet.metrics.caps import cap_notes, check_caps
from motedet.metrics.entries import Entry, uncollected
from motedet.metrics.precision import ANY_SIZE, precision_recall
from motedet.metrics.scores import Scores, class_rows
from motedet.metrics.stamp import Stamp
from motedet.metrics.tables import DetectionTable, GroundTruthTable

AREAS: Final = (ANY_SIZE, (0.0, 1024.0), (1024.0, 9216.0), (9216.0, 1e10))


@dataclass(frozen=True, kw_only=True)
class COCOProtocol:
    """The twelve COCO numbers: small is below 32², medium below 96², large above, in pixels.

    Attributes:
        max_dets: caps on the detections per image and class; AP uses the largest.
    """

    headline: ClassVar[str] = "AP"

    kind: Literal["coco"] = "coco"
    max_dets: tuple[int, ...] = (1, 10, 100)

    def __post_init__(self) -> None:
        """Reject caps that do not ascend."""
        check_caps(self.max_dets)

    @uncollected()
    def score(self, ground_truth: Mapping[str, object], detections: Sequence[Entry]) -> Scores:
        """All numbers of the protocol, and AP of each class.

        Args:
            ground_truth: a COCO dictionary.
            detections: COCO results, boxes xywh in pixels; may be empty.

        Raises:
            DataError: naming the entry that cannot be used.
        """
        truth = GroundTruthTable.of(ground_truth)
        found = DetectionTable.of(detections, truth)
        curves = precision_recall(truth, found, areas=AREAS, max_dets=self.max_dets)
        values = {
            "AP": curves.ap(),
            "AP50": curves.ap(iou=0.5),
            "AP75": curves.ap(iou=0.75),
            "AP_s": curves.ap(area=1),
            "AP_m": curves.ap(area=2),
            "AP_l": curves.ap(area=3),
            **curves.ar_by_cap(),
            "AR_s": curves.ar(area=1),
            "AR_m": curves.ar(area=2),
            "AR_l": curves.ar(area=3),
        }
        rows = class_rows(
            truth.classes,
            {"AP": curves.class_ap(), "AP50": curves.class_ap(iou=0.5)},
        )
        notes = (*truth.notes, *cap_notes(found, cap=self.max_dets[-1], truth=truth))
        stamp = Stamp.of(asdict(self), truth, caps=self.max_dets)
        return Scores(values=values, per_class=rows, notes=notes, stamp=stamp)
