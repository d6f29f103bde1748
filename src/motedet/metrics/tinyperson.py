"""The TinyPerson protocol: precision and recall by size, and miss rate.

Yu et al., "Scale Match for Tiny Person Detection", WACV 2020, arXiv 1912.10664.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Final, Literal

from motedet.metrics.caps import cap_notes
from motedet.metrics.entries import Entry, Floats, uncollected
from motedet.metrics.matching import Ranked
from motedet.metrics.miss_rate import MissCurves, MissRate, miss_curves
from motedet.metrics.overlaps import Overlaps, find_overlaps
from motedet.metrics.scores import Scores, class_rows, mean_defined
from motedet.metrics.stamp import Stamp
from motedet.metrics.tables import DetectionTable, GroundTruthTable
from motedet.metrics.tiny_precision import (
    AREAS,
    THRESHOLDS,
    IoDThreshold,
    TinyCurves,
    TinyMatcher,
    tiny_curves,
)

NAMES: Final = tuple(f"{t * 100:.0f}_{area}" for t in THRESHOLDS for area in AREAS)
PASSED_NOTE: Final = (
    "fewer than 100 images: some miss rates take the highest recall of the curve where it has no "
    "point with so few false positives, as the published code does, and are too low; "
    "`miss_rate.unreached: zero` takes none."
)


@dataclass(frozen=True, kw_only=True)
class TinyPersonProtocol:
    """42 numbers of AP and AR (`AP50_tiny`, `AR25_all`, ...), and 18 miss rates (`MR50_tiny`, ...).

    Three settings are in use, and published numbers do not always say which:

    - the configuration that logs were made with: the defaults ("the 1000 numbers");
    - the older evaluation: `max_det=200`;
    - the script beside the newer code: `max_det=200, iod_threshold="2t/(1+t)"`.

    Attributes:
        max_det: cap on the detections per image and class, for AP and AR.
        iod_threshold: a detection that found nothing does not count if so much of it, by the IoU
            threshold t, is inside of an ignored object; None: it always counts.
        ignore_uncertain: whether objects marked `uncertain` are ignored.
        published_id_zero: count a match with the annotation of id 0 as none, as the published code
            does; the released files number annotations from 0.
        miss_rate: how the miss rate is taken; None leaves it out.
    """

    headline: ClassVar[str] = "AP50_tiny"

    kind: Literal["tinyperson"] = "tinyperson"
    max_det: int = 1000
    iod_threshold: IoDThreshold | None = "t"
    ignore_uncertain: bool = True
    published_id_zero: bool = False
    miss_rate: MissRate | None = field(default_factory=MissRate)

    def __post_init__(self) -> None:
        """Reject a cap that leaves nothing."""
        if self.max_det < 1:
            raise ValueError(f"max_det must be at least 1; got {self.max_det}.")

    @uncollected()
    def score(self, ground_truth: Mapping[str, object], detections: Sequence[Entry]) -> Scores:
        """All numbers of the protocol, and those at IoU 0.5 of each class.

        Args:
            ground_truth: a COCO dictionary; `ignore`, `uncertain`, `size` and `vis` are read.
            detections: COCO results on whole images, boxes xywh in pixels; may be empty.

        Raises:
            DataError: naming the entry that cannot be used.
        """
        read = GroundTruthTable.of(ground_truth)
        truth = read if self.published_id_zero else read.renumbered()
        found = DetectionTable.of(detections, truth)
        ranked = Ranked.of(found, cap=max(self._caps()), num_classes=truth.num_classes)
        overlaps = find_overlaps(truth, ranked.table)
        curves = self._curves(truth, ranked, overlaps)
        values = {f"AP{name}": value for name, value in zip(NAMES, _means(curves.ap), strict=True)}
        values |= {f"AR{name}": value for name, value in zip(NAMES, _means(curves.ar), strict=True)}
        columns = {f"AP50_{area}": curves.ap[1, :, a] for a, area in enumerate(AREAS)}
        notes = truth.notes
        if self.miss_rate is not None:
            misses = self._misses(truth, ranked, overlaps, self.miss_rate)
            values |= misses.values()
            columns["MR50_tiny"] = misses.class_rates(iou=0.5, size="tiny")
            notes += (PASSED_NOTE,) * (misses.passed and self.miss_rate.unreached == "published")
        for cap in sorted(set(self._caps())):
            notes += cap_notes(found, cap=cap, truth=truth)
        return Scores(
            values=values,
            per_class=class_rows(truth.classes, columns),
            notes=notes,
            stamp=Stamp.of(asdict(self), truth, caps=self._caps()),
        )

    def _caps(self) -> tuple[int, ...]:
        """The cap of AP and AR, and that of the miss rate."""
        return (self.max_det, *((self.miss_rate.max_det,) if self.miss_rate else ()))

    def _curves(self, truth: GroundTruthTable, ranked: Ranked, overlaps: Overlaps) -> TinyCurves:
        return tiny_curves(
            TinyMatcher.of(
                truth,
                ranked,
                overlaps=overlaps,
                max_det=self.max_det,
                iod_threshold=self.iod_threshold,
                ignore_uncertain=self.ignore_uncertain,
            )
        )

    def _misses(
        self, truth: GroundTruthTable, ranked: Ranked, overlaps: Overlaps, rules: MissRate
    ) -> MissCurves:
        return miss_curves(
            truth,
            ranked,
            overlaps=overlaps,
            rules=rules,
            ignore_uncertain=self.ignore_uncertain,
        )


def _means(values: Floats) -> list[float]:
    """Means over the classes of [T, K, A] values, thresholds outside."""
    return [
        mean_defined(values[t, :, a]) for t in range(len(THRESHOLDS)) for a in range(len(AREAS))
    ]
