"""Average precision and recall of the COCO family, computed by faster-coco-eval.

That package reproduces pycocotools: recalls bit for bit, precisions within 3e-16.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeAlias, cast

import numpy as np
from faster_coco_eval import COCOeval_faster

from motedet.metrics.entries import Floats, Ints
from motedet.metrics.scores import mean_defined
from motedet.metrics.tables import DetectionTable, GroundTruthTable

IOU_THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)
ONE_CLASS: Final = 1
ANY_SIZE: Final = (0.0, 1e10)

Entry: TypeAlias = dict[str, object]
AreaRange = tuple[float, float]
"""Smallest and largest area in square pixels, both inside."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Precision and recall for T thresholds, R recalls, K classes, A area ranges, M caps.

    Attributes:
        precision: [T, R, K, A, M] interpolated, -1 where a class has no objects in the range.
        recall: [T, K, A, M] the highest reached, -1 likewise.
        max_dets: the M caps, ascending.
    """

    precision: Floats
    recall: Floats
    max_dets: tuple[int, ...]

    def ap(self, *, iou: float | None = None, area: int = 0) -> float:
        """Mean precision over thresholds (or at one), recalls and classes, at the largest cap.

        Args:
            iou: one threshold; -1 is the answer if it is not among them.
            area: index of the area range.
        """
        chosen = slice(None) if iou is None else np.isclose(IOU_THRESHOLDS, iou)
        return mean_defined(self.precision[chosen, :, :, area, -1])

    def ar(self, *, area: int = 0, cap: int = -1) -> float:
        """Mean of the highest recalls over thresholds and classes.

        Args:
            area: index of the area range.
            cap: index of the cap.
        """
        return mean_defined(self.recall[:, :, area, cap])

    def ar_by_cap(self) -> dict[str, float]:
        """`AR@1`, `AR@10`, ...: over all sizes."""
        return {f"AR@{limit}": self.ar(cap=m) for m, limit in enumerate(self.max_dets)}

    def class_ap(self, *, iou: float | None = None) -> Floats:
        """[K] AP of each class over all sizes, at the largest cap."""
        chosen = slice(None) if iou is None else np.isclose(IOU_THRESHOLDS, iou)
        values = self.precision[chosen, :, :, 0, -1]  # [T, R, K]
        return np.array([mean_defined(values[:, :, k]) for k in range(values.shape[2])])


def precision_recall(
    truth: GroundTruthTable,
    found: DetectionTable,
    *,
    areas: Sequence[AreaRange],
    max_dets: Sequence[int],
) -> Curves:
    """Match and accumulate over the ten COCO thresholds.

    Class by class: no number depends on two classes, and the working set of one class is small
    enough to stay in the processor's caches.

    Args:
        truth: G objects.
        found: D detections.
        areas: A ranges; objects outside one are ignored in it.
        max_dets: M caps on the detections per image and class, ascending.
    """
    parts = [
        _class_curves(
            _object_entries(truth, np.flatnonzero(truth.category == k)),
            _detection_entries(found, np.flatnonzero(found.category == k)),
            areas=areas,
            max_dets=max_dets,
        )
        for k in range(len(truth.category_ids))
    ]
    return Curves(
        precision=np.concatenate([precision for precision, _ in parts], axis=2),
        recall=np.concatenate([recall for _, recall in parts], axis=1),
        max_dets=tuple(max_dets),
    )


def _class_curves(
    objects: list[Entry],
    found: list[Entry],
    *,
    areas: Sequence[AreaRange],
    max_dets: Sequence[int],
) -> tuple[Floats, Floats]:
    """Precision [T, R, 1, A, M] and recall [T, 1, A, M] of the entries of one class."""
    images = sorted({cast("int", entry["image_id"]) for entry in chain(objects, found)}) or [1]
    evaluation = COCOeval_faster(
        _Entries(images, objects), _Entries(images, found), iouType="bbox", print_function=_silent
    )
    evaluation.params.iouThrs = IOU_THRESHOLDS
    evaluation.params.areaRng = [list(area) for area in areas]
    evaluation.params.areaRngLbl = [str(area) for area in areas]
    evaluation.params.maxDets = list(max_dets)
    evaluation.evaluate()
    evaluation.accumulate()
    curves = (evaluation.eval["precision"], evaluation.eval["recall"])
    return np.asarray(curves[0], dtype=np.float64), np.asarray(curves[1], dtype=np.float64)


class _Entries:
    """What faster-coco-eval asks of a `COCO` object, without the look-up tables it never needs."""

    def __init__(self, images: list[int], entries: list[Entry]) -> None:
        self._images = images
        self._entries = entries

    def getImgIds(self) -> list[int]:  # noqa: N802 - pycocotools' name
        """All images."""
        return self._images

    def getCatIds(self) -> list[int]:  # noqa: N802 - pycocotools' name
        """The one class."""
        return [ONE_CLASS]

    def getAnnIds(self, imgIds: object, catIds: object) -> range:  # noqa: N802, N803
        """The rows of all entries; the evaluation asks for all images and categories."""
        return range(len(self._entries))

    def loadAnns(self, ids: range) -> list[Entry]:  # noqa: N802 - pycocotools' name
        """The entries of all rows."""
        return self._entries


def _object_entries(truth: GroundTruthTable, rows: Ints) -> list[Entry]:
    """The objects as faster-coco-eval wants them; it writes into its entries, so these are new."""
    ids = np.arange(1, len(rows) + 1)
    ids[truth.zero_id[rows]] = 0  # keeps the published reading of an id of 0
    columns = (ids, truth.image[rows] + 1, truth.boxes_xywh[rows], truth.areas[rows])
    crowd = truth.crowd[rows].astype(int)
    return [
        {
            "id": i,
            "image_id": image,
            "category_id": ONE_CLASS,
            "bbox": box,
            "area": area,
            "iscrowd": is_crowd,
        }
        for i, image, box, area, is_crowd in zip(
            *(column.tolist() for column in columns), crowd.tolist(), strict=True
        )
    ]


def _detection_entries(found: DetectionTable, rows: Ints) -> list[Entry]:
    """The detections likewise, numbered from 1."""
    part = found[rows]
    columns = (part.image + 1, part.boxes_xywh, part.scores, part.areas)
    return [
        {
            "id": i,
            "image_id": image,
            "category_id": ONE_CLASS,
            "bbox": box,
            "score": score,
            "area": area,
        }
        for i, (image, box, score, area) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), start=1
        )
    ]


def _silent(_: object) -> None:
    """Take a message and say nothing."""
