"""The page of one run: what it says, put together from the recipe, the images and the files."""

import csv
import io
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from motedet.data import Catalog, ImageRecord, count_kinds
from motedet.data.dataset import read_checked
from motedet.files import write_text
from motedet.recipes import Recipe
from motedet.report.drawing import draw_detections
from motedet.report.gallery import best_and_worst, best_score_thresh, per_image_quality
from motedet.report.history import History
from motedet.report.page import GalleryEntry, ReportContext, SplitFacts
from motedet.report.plots import write_figures
from motedet.structures import Detections, Targets

SHOWN_IMAGES: Final = 6
PACKAGES: Final = ("motedet", "torch", "torchvision", "timm", "lightning", "faster-coco-eval")


def run_context(
    recipe: Recipe,
    catalogs: tuple[Catalog, Catalog],
    *,
    command: str,
    recipe_yaml: str,
    scores: Mapping[str, Any],
    found: Sequence[Detections],
    history: Path,
) -> ReportContext:
    """All that the page of a run shows.

    Args:
        recipe: of the run.
        catalogs: the training and the validation images.
        command: with which to do the run again.
        recipe_yaml: the resolved recipe as text.
        scores: `values`, `per_class` and `notes` of the validation.
        found: in each validation image.
        history: CSV file of what was logged.
    """
    train_data, val_data = catalogs
    best, worst = _gallery(found, val_data)
    return ReportContext(
        name=recipe.name,
        command=command,
        recipe_yaml=recipe_yaml,
        seed=recipe.train.seed,
        summary=_summary(recipe),
        splits=(split_facts("train", train_data), split_facts("val", val_data)),
        history=history,
        protocol=recipe.protocol.kind,
        values=scores["values"],
        per_class=scores["per_class"],
        notes=(*_remarks(found), *scores["notes"]),
        best=best,
        worst=worst,
        environment=_environment(),
    )


def split_facts(name: str, catalog: Catalog) -> SplitFacts:
    """Counts and sizes of a split."""
    labels = np.concatenate(
        [np.zeros(0, np.int64), *(r.labels[~r.any_class] for r in catalog.records)]
    )
    counts = np.bincount(labels, minlength=len(catalog.classes)).tolist()
    return SplitFacts(
        name=name,
        images=len(catalog),
        images_without=sum(len(r) == 0 for r in catalog.records),
        sizes=catalog.sizes(),
        classes=dict(zip(catalog.classes, counts, strict=True)),
        problems=count_kinds(catalog.problems),
    )


def read_detections(path: Path, catalog: Catalog) -> list[Detections]:
    """Detections from a file of COCO results, one record per image of the catalog."""
    per_image: dict[int, list[Any]] = {record.image_id: [] for record in catalog.records}
    for result in json.loads(path.read_text(encoding="utf-8")):
        per_image[result["image_id"]].append(result)
    label = {category_id: i for i, category_id in enumerate(catalog.category_ids)}
    found = []
    for rows in per_image.values():
        xywh = torch.tensor([r["bbox"] for r in rows], dtype=torch.float32).reshape(-1, 4)  # [D, 4]
        boxes = torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), dim=1)
        labels = torch.tensor([label[r["category_id"]] for r in rows], dtype=torch.int64)
        scores = torch.tensor([r["score"] for r in rows], dtype=torch.float32)
        found.append(Detections(boxes, scores, labels))
    return found


def merge_history(parts: Sequence[Path], path: Path) -> Path:
    """One CSV file of several, one after the other: a run has one for each start or restart."""
    rows: list[dict[str, str]] = []
    for part in parts:
        with part.open(encoding="utf-8", newline="") as stream:
            rows += list(csv.DictReader(stream))
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())
    return path


def write_run_figures(folder: Path, context: ReportContext) -> None:
    """The page's figures once more, as files of their own."""
    write_figures(
        folder,
        History.read(context.history),
        sizes={split.name: split.sizes for split in context.splits},
        values=context.values,
    )
    for i, entry in enumerate(context.best + context.worst):
        kind = "best" if i < len(context.best) else "worst"
        entry.image.save(folder / f"{kind}_{Path(entry.title).stem}.png")


def _summary(recipe: Recipe) -> dict[str, str]:
    """What the top of the page says."""
    model, train = recipe.model, recipe.train
    return {
        "detector": f"{model.kind}, {model.backbone.name}",
        "assigner": model.assigner.kind,
        "strides": ", ".join(map(str, model.priors.strides)),
        **({"steps": str(train.steps)} if train.steps else {"epochs": str(train.epochs)}),
        "batch": str(train.batch_size * train.accumulate),
        "optimiser": f"{train.optimizer.kind}, lr {train.optimizer.lr:g}, {train.schedule.kind}",
        "precision": {"32": "float32"}.get(train.precision, train.precision),
    }


def _remarks(found: Sequence[Detections]) -> tuple[str, ...]:
    """What explains a page of zeros."""
    anything = any(len(detections) for detections in found)
    return () if anything else ("Nothing was detected in any validation image.",)


def _gallery(
    found: Sequence[Detections], catalog: Catalog
) -> tuple[tuple[GalleryEntry, ...], tuple[GalleryEntry, ...]]:
    """Drawings of the best and the worst images."""
    truths = [_truth(record) for record in catalog.records]
    thresh = best_score_thresh(found, truths)
    qualities = [
        per_image_quality(d, t, score_thresh=thresh) for d, t in zip(found, truths, strict=True)
    ]

    def entry(i: int) -> GalleryEntry:
        record, kept = catalog.records[i], found[i][found[i].scores >= thresh]
        drawing = draw_detections(
            read_checked(record),
            kept.boxes,
            kept.labels,
            kept.scores,
            classes=catalog.classes,
            truth=truths[i],
        )
        caption = f"{qualities[i].summary}; score at least {thresh:.2f}"
        return GalleryEntry(title=record.path.name, image=drawing, caption=caption)

    best, worst = best_and_worst(qualities, count=SHOWN_IMAGES)
    return tuple(map(entry, best)), tuple(map(entry, worst))


def _truth(record: ImageRecord) -> Targets:
    """What counts in an image; crowds and ignored objects are regions in which nothing does."""
    boxes = torch.from_numpy(record.boxes).float()  # [G, 4]
    counted = torch.from_numpy(~(record.crowd | record.ignore))  # [G]
    size = (record.height, record.width)
    labels = torch.from_numpy(record.labels)[counted]
    return Targets(boxes[counted], labels, boxes[~counted], size, size)


def _environment() -> dict[str, str]:
    """Versions that a result may depend on."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in PACKAGES},
    }
