"""COCO ground truth and result files: reading with checks, and writing detections."""

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor

from motedet.errors import DataError
from motedet.metrics.entries import checked_entries, checked_sections, uncollected
from motedet.metrics.tables import DetectionTable, GroundTruthTable
from motedet.structures import Detections

GZIP_MAGIC: Final = b"\x1f\x8b"


def read_ground_truth(path: Path) -> dict[str, object]:
    """A COCO annotation file, plain or gzipped.

    Raises:
        DataError: naming the file and, where there is one, the entry that cannot be used.
    """
    value = _read_json(path)
    try:
        checked_sections(value)
        ground_truth = cast("dict[str, object]", value)
        GroundTruthTable.of(ground_truth)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return ground_truth


def read_results(
    path: Path, ground_truth: Mapping[str, object] | None = None
) -> list[dict[str, object]]:
    """A COCO result file (a list of boxes with scores), plain or gzipped.

    Args:
        path: the file; an empty list is fine.
        ground_truth: checks every entry against it if given, so that errors name the file.

    Raises:
        DataError: naming the file and, where there is one, the entry that cannot be used.
    """
    value = _read_json(path)
    try:
        checked_entries(value, "detections")
        detections = cast("list[dict[str, object]]", value)
        if ground_truth is not None:
            DetectionTable.of(detections, GroundTruthTable.of(ground_truth))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return detections


def to_results(
    image_id: int, boxes: Tensor, *, scores: Tensor, labels: Tensor, category_ids: Sequence[int]
) -> list[dict[str, object]]:
    """Detections of one image as entries of a COCO result list.

    Args:
        image_id: the image's id in the ground truth.
        boxes: [D, 4] xyxy in pixels of the original image.
        scores: [D].
        labels: [D] int64, 0-based.
        category_ids: the ground truth's category id of each label.

    Raises:
        DataError: if a label has no category id.
    """
    corners = boxes.detach().cpu().double()  # [D, 4]; a float32 width would move the far corner
    boxes_xywh = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)  # [D, 4]
    classes = labels.tolist()
    if classes and not 0 <= min(classes) <= max(classes) < len(category_ids):
        raise DataError(
            f"image {image_id}: labels run from {min(classes)} to {max(classes)}, but there are "
            f"{len(category_ids)} category ids."
        )
    return [
        {"image_id": image_id, "category_id": int(category_ids[k]), "bbox": box, "score": score}
        for box, score, k in zip(
            boxes_xywh.tolist(), scores.detach().cpu().double().tolist(), classes, strict=True
        )
    ]


def coco_results(
    detections: Detections, image_id: int, category_ids: Sequence[int]
) -> list[dict[str, object]]:
    """Detections of one image as entries of a COCO result list.

    Args:
        detections: in pixels of the original image.
        image_id: the image's id in the ground truth.
        category_ids: the ground truth's category id of each label.
    """
    return to_results(
        image_id,
        detections.boxes,
        scores=detections.scores,
        labels=detections.labels,
        category_ids=category_ids,
    )


def _read_json(path: Path) -> object:
    """The value of a JSON file, plain or gzipped, whatever its name."""
    try:
        data = path.read_bytes()
        if data.startswith(GZIP_MAGIC):
            data = gzip.decompress(data)
        with uncollected():
            return cast("object", json.loads(data))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: not JSON: {error.msg} at line {error.lineno} column {error.colno}."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not JSON: byte {error.start} is not text.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
