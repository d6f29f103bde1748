"""Files in which predictions are handed over: COCO results, YOLO text, CSV."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from motedet.engine.predict import Prediction
from motedet.files import write_text
from motedet.metrics import coco_results


def write_coco(folder: Path, predictions: Sequence[Prediction], classes: Sequence[str]) -> None:
    """`detections.json` (COCO results) and `images.json` (which image id is which file).

    Image ids count the readable files from 1, category ids the classes from 1.
    """
    ids = list(range(1, len(classes) + 1))
    readable = [p for p in predictions if p.error is None]
    results: list[dict[str, Any]] = []
    for image_id, prediction in enumerate(readable, start=1):
        results += coco_results(prediction.detections, image_id, ids)
    images = [
        {"id": i, "file_name": str(p.path), "height": p.size[0], "width": p.size[1]}
        for i, p in enumerate(readable, start=1)
    ]
    categories = [{"id": i, "name": name} for i, name in zip(ids, classes, strict=True)]
    write_text(folder / "detections.json", json.dumps(results))
    write_text(
        folder / "images.json",
        json.dumps({"images": images, "annotations": [], "categories": categories}, indent=1),
    )


def write_yolo(folder: Path, predictions: Sequence[Prediction]) -> None:
    """`labels/<name>.txt`: class, centre and size relative to the image, score."""
    for prediction, name in zip(predictions, distinct_names(predictions), strict=True):
        if prediction.error is not None:
            continue
        height, width = prediction.size
        lines = []
        for (x1, y1, x2, y2), score, label in rows(prediction):
            cx, cy = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
            w, h = (x2 - x1) / width, (y2 - y1) / height
            lines.append(f"{label} {cx:.6f} {cy:.6f} {w:.6f} {h:.6f} {score:.4f}\n")
        write_text(folder / "labels" / f"{name}.txt", "".join(lines))


def write_csv(folder: Path, predictions: Sequence[Prediction], classes: Sequence[str]) -> None:
    """`detections.csv`: one row per detection, boxes in pixels of the file."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "class", "score", "x1", "y1", "x2", "y2"])
    for prediction in predictions:
        for box, score, label in rows(prediction):
            table.writerow(
                [prediction.path, classes[label], f"{score:.4f}", *(f"{v:.2f}" for v in box)]
            )
    write_text(folder / "detections.csv", text.getvalue())


def rows(prediction: Prediction) -> list[tuple[list[float], float, int]]:
    """Box, score and label of every detection, as plain numbers."""
    found = prediction.detections
    return list(
        zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    )


def distinct_names(predictions: Sequence[Prediction]) -> list[str]:
    """A file name without suffix for each prediction; equal stems get their folder in front."""
    stems = [p.path.stem for p in predictions]
    names = [
        stem if stems.count(stem) == 1 else "_".join([*p.path.parent.parts[-2:], p.path.name])
        for p, stem in zip(predictions, stems, strict=True)
    ]
    return [name.replace("/", "_").lstrip("_.") for name in names]
