"""The AI-TOD protocol (Wang et al. 2021; Xu et al. 2022, arXiv 2206.13996), with optimal LRP."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Final, Literal

from motedet.metrics.caps import cap_notes, check_caps
from motedet.metrics.entries import Entry, uncollected
from motedet.metrics.olrp import optimal_lrp
from motedet.metrics.precision import ANY_SIZE, Curves, precision_recall
from motedet.metrics.scores import UNDEFINED, Scores, class_rows
from motedet.metrics.stamp import Stamp
from motedet.metrics.tables import DetectionTable, GroundTruthTable

AREAS: Final = (ANY_SIZE, (0.0, 64.0), (64.0, 256.0), (256.0, 1024.0), (1024.0, 1e10))
LRP_NAMES: Final = ("oLRP", "oLRP_Loc", "oLRP_FP", "oLRP_FN")


@dataclass(frozen=True, kw_only=True)
class AITODProtocol:
    """The nineteen AI-TOD numbers: very tiny to 8², tiny to 16², small to 32² px, medium above.

    AP25 is -1, as in the published evaluator, whose thresholds start at 0.5.

    Attributes:
        max_dets: caps on the detections per image and class; all but the AR columns use the
            largest. (100, 300, 1500) are those of the mmdetection data set class.
        with_lrp: also compute optimal LRP; otherwise its numbers are -1.
    """

    headline: ClassVar[str] = "AP"

    kind: Literal["aitod"] = "aitod"
    max_dets: tuple[int, ...] = (1, 100, 1500)
    with_lrp: bool = True

    def __post_init__(self) -> None:
        """Reject caps that do not ascend."""
        check_caps(self.max_dets)

    @uncollected()
    def score(self, ground_truth: Mapping[str, object], detections: Sequence[Entry]) -> Scores:
        """All numbers of the protocol, and those of each class.

        Args:
            ground_truth: a COCO dictionary.
            detections: COCO results, boxes xywh in pixels; may be empty.

        Raises:
            DataError: naming the entry that cannot be used.
        """
        truth = GroundTruthTable.of(ground_truth)
        found = DetectionTable.of(detections, truth)
        curves = precision_recall(truth, found, areas=AREAS, max_dets=self.max_dets)
        columns = {"AP": curves.class_ap(), "AP50": curves.class_ap(iou=0.5)}
        errors = dict.fromkeys(LRP_NAMES, UNDEFINED)
        if self.with_lrp:
            lrp = optimal_lrp(truth, found, areas=AREAS[:1], max_dets=self.max_dets[-1:])
            errors = lrp.summary()
            columns |= {
                "oLRP": lrp.error[:, 0, -1],
                "oLRP_Loc": lrp.localisation[:, 0, -1],
                "oLRP_FP": lrp.false_positives[:, 0, -1],
                "oLRP_FN": lrp.false_negatives[:, 0, -1],
                "best_score": lrp.threshold[:, 0, -1],
            }
        return Scores(
            values=_precision_values(curves) | errors,
            per_class=class_rows(truth.classes, columns),
            notes=(*truth.notes, *cap_notes(found, cap=self.max_dets[-1], truth=truth)),
            stamp=Stamp.of(asdict(self), truth, caps=self.max_dets),
        )


def _precision_values(curves: Curves) -> dict[str, float]:
    """AP and AR under their published names, in their published order."""
    return {
        "AP": curves.ap(),
        "AP25": curves.ap(iou=0.25),
        "AP50": curves.ap(iou=0.5),
        "AP75": curves.ap(iou=0.75),
        "AP_vt": curves.ap(area=1),
        "AP_t": curves.ap(area=2),
        "AP_s": curves.ap(area=3),
        "AP_m": curves.ap(area=4),
        **curves.ar_by_cap(),
        "AR_vt": curves.ar(area=1),
        "AR_t": curves.ar(area=2),
        "AR_s": curves.ar(area=3),
        "AR_m": curves.ar(area=4),
    }
