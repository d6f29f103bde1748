"""`motedet report`: the page and the figures of a run, from what its folder holds."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from motedet.data import Catalog
    from motedet.engine.run_folder import RunFolder
    from motedet.recipes import Recipe
    from motedet.report.page import GalleryEntry, SplitFacts
    from motedet.structures import Detections

SHOWN_IMAGES = 6


def report(
    run: Annotated[Path, typer.Argument(help="A run folder that `motedet train` wrote.")],
    data: Annotated[Path, typer.Option(help="Folder of the data set.")],
) -> None:
    """Write report.html and the figures of a run anew."""
    print(make_report(run, data))


def make_report(run: Path, data: Path) -> Path:
    """Write figures and `report.html` into a run folder.

    Raises:
        DataError: if the folder holds no finished run.
    """
    from motedet.engine.fit import open_data
    from motedet.engine.run_folder import RunFolder
    from motedet.errors import DataError
    from motedet.recipes import parse_recipe
    from motedet.report.page import ReportContext, write_report

    folder = RunFolder(run)
    if not folder.metrics.is_file():
        raise DataError(f"{run}: no finished run there, {folder.metrics.name} is missing.")
    recipe_text = folder.recipe.read_text(encoding="utf-8")
    recipe = parse_recipe(recipe_text, source=str(folder.recipe))
    train_data, val_data = open_data(recipe, data)
    scores = json.loads(folder.metrics.read_text(encoding="utf-8"))
    best, worst = _gallery(folder, val_data)
    context = ReportContext(
        name=recipe.name,
        command=f"motedet train {recipe.name} --data {data}",
        recipe_yaml=recipe_text,
        seed=recipe.train.seed,
        summary=_summary(recipe),
        splits=(_facts("train", train_data), _facts("val", val_data)),
        history=_merged_history(folder),
        protocol=recipe.protocol.kind,
        values=scores["values"],
        per_class=scores["per_class"],
        notes=tuple(scores["notes"]),
        best=best,
        worst=worst,
        environment=_environment(),
    )
    _write_figures(folder, context)
    return write_report(run, context)


def _summary(recipe: "Recipe") -> dict[str, str]:
    """What the top of the page says."""
    model, train = recipe.model, recipe.train
    return {
        "detector": f"{model.kind}, {model.backbone.name}",
        "assigner": model.assigner.kind,
        "strides": ", ".join(map(str, model.priors.strides)),
        "epochs": str(train.epochs),
        "batch": str(train.batch_size * train.accumulate),
        "optimiser": f"{train.optimizer.kind}, lr {train.optimizer.lr:g}, {train.schedule.kind}",
        "precision": train.precision,
    }


def _facts(name: str, catalog: "Catalog") -> "SplitFacts":
    """Counts and sizes of a split."""
    import numpy as np

    from motedet.data import count_kinds
    from motedet.report.page import SplitFacts

    labels = np.concatenate([np.zeros(0, np.int64), *(r.labels for r in catalog.records)])
    counts = np.bincount(labels, minlength=len(catalog.classes)).tolist()
    return SplitFacts(
        name=name,
        images=len(catalog),
        images_without=sum(len(r) == 0 for r in catalog.records),
        sizes=catalog.sizes(),
        classes=dict(zip(catalog.classes, counts, strict=True)),
        problems=count_kinds(catalog.problems),
    )


def _gallery(
    folder: "RunFolder", catalog: "Catalog"
) -> tuple[tuple["GalleryEntry", ...], tuple["GalleryEntry", ...]]:
    """Drawings of the best and the worst validation images."""
    import torch

    from motedet.data import read_image
    from motedet.report.drawing import draw_detections
    from motedet.report.gallery import best_and_worst, best_score_thresh, per_image_quality
    from motedet.report.page import GalleryEntry
    from motedet.structures import Targets

    found = _detections(folder, catalog)
    truths = []
    for record in catalog.records:
        counted = ~(record.crowd | record.ignore)
        boxes = torch.from_numpy(record.boxes).float()  # [G, 4]
        size = (record.height, record.width)
        labels = torch.from_numpy(record.labels)
        keep = torch.from_numpy(counted)
        truths.append(Targets(boxes[keep], labels[keep], boxes[~keep], size, size))
    thresh = best_score_thresh(found, truths)
    qualities = [
        per_image_quality(d, t, score_thresh=thresh) for d, t in zip(found, truths, strict=True)
    ]

    def entry(i: int) -> GalleryEntry:
        record, kept = catalog.records[i], found[i][found[i].scores >= thresh]
        drawing = draw_detections(
            read_image(record.path),
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


def _detections(folder: "RunFolder", catalog: "Catalog") -> list["Detections"]:
    """The run's detections of each validation image."""
    import torch

    from motedet.structures import Detections

    per_image: dict[int, list[Any]] = {record.image_id: [] for record in catalog.records}
    for result in json.loads(folder.detections.read_text(encoding="utf-8")):
        per_image[result["image_id"]].append(result)
    label = {category_id: i for i, category_id in enumerate(catalog.category_ids)}
    found = []
    for rows in per_image.values():
        xywh = torch.tensor([r["bbox"] for r in rows]).reshape(-1, 4)  # [D, 4]
        boxes = torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), dim=1)
        labels = torch.tensor([label[r["category_id"]] for r in rows], dtype=torch.int64)
        found.append(Detections(boxes, torch.tensor([r["score"] for r in rows]), labels))
    return found


def _merged_history(folder: "RunFolder") -> Path:
    """`history.csv`: the CSV logs of all starts of the run, one after the other."""
    import csv
    import io

    from motedet.files import write_text

    rows: list[dict[str, str]] = []
    parts = sorted(
        folder.logs.glob("part_*/metrics.csv"), key=lambda p: int(p.parent.name.split("_")[1])
    )
    for part in parts:
        with part.open(encoding="utf-8", newline="") as stream:
            rows += list(csv.DictReader(stream))
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    path = folder.root / "history.csv"
    write_text(path, text.getvalue())
    return path


def _write_figures(folder: "RunFolder", context: Any) -> None:  # noqa: ANN401 - a ReportContext
    """The page's figures once more, as files of their own."""
    from motedet.report.history import History
    from motedet.report.plots import write_figures

    write_figures(
        folder.figures,
        History.read(context.history),
        sizes={split.name: split.sizes for split in context.splits},
        values=context.values,
    )
    for i, entry in enumerate(context.best + context.worst):
        kind = "best" if i < len(context.best) else "worst"
        entry.image.save(folder.figures / f"{kind}_{Path(entry.title).stem}.png")


def _environment() -> dict[str, str]:
    """Versions that a result may depend on."""
    packages = ("motedet", "torch", "torchvision", "timm", "lightning", "faster-coco-eval")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in packages},
    }
