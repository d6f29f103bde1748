"""A folder of the user's own images, in any of the usual layouts."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from motedet.data.formats import (
    SPLIT_NAMES,
    Split,
    is_dota,
    is_visdrone,
    is_voc,
    is_yolo,
    read_annotations,
)
from motedet.data.records import Catalog
from motedet.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A COCO, VOC, VisDrone, DOTA or YOLO folder with a training and a validation split.

    Layouts, tried in this order (`valid` and `validation` also count as `val`):

    - COCO: `annotations/train.json`, `annotations/instances_train*.json`, `train.json` or
      `train/_annotations.coco.json`; images in `images/`, `images/train/`, `train/` or beside.
    - VOC: `Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/train.txt`.
    - VisDrone: `VisDrone2019-DET-train/` or `train/` with `images/` and `annotations/*.txt`.
    - DOTA: `train/` with `images/` and `labelTxt*/*.txt`.
    - YOLO: `data.yaml` with `train` and `val`; or `images/train/` and `labels/train/`.

    Attributes:
        keep: use only these classes, with labels in this order; by default all.
        merge_into: treat all kept classes as one of this name.
    """

    kind: Literal["folder"] = "folder"
    keep: tuple[str, ...] | None = None
    merge_into: str | None = None

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the labels, where they do not depend on the folder."""
        return (self.merge_into,) if self.merge_into is not None else self.keep

    def catalog(self, root: Path, split: Split) -> Catalog:
        """Read one split.

        Raises:
            DataError: if the folder has no such split, saying what was expected and what is there.
        """
        root = Path(root)
        if not root.is_dir():
            raise DataError(f"{root}: no such folder. Give the folder that holds the data set.")
        path = find_coco_file(root, split)
        if path is not None:
            catalog = read_annotations(path, classes=self.keep)
        elif any(looks(root) for looks in (is_voc, is_visdrone, is_dota, is_yolo)):
            catalog = read_annotations(root, classes=self.keep, split=split)
        else:
            raise DataError(_nothing_found(root, split))
        return catalog if self.merge_into is None else merge_classes(catalog, self.merge_into)


def find_coco_file(root: Path, split: Split) -> Path | None:
    """The COCO file of a split, if the folder has one.

    Raises:
        DataError: if several files of `annotations/` could be meant.
    """
    for name in SPLIT_NAMES[split]:
        for place in (
            root / "annotations" / f"{name}.json",
            root / name / "_annotations.coco.json",
            root / f"{name}.json",
        ):
            if place.is_file():
                return place
    for name in SPLIT_NAMES[split]:
        found = sorted((root / "annotations").glob(f"instances_{name}*.json"))
        if len(found) > 1:
            listed = ", ".join(path.name for path in found)
            raise DataError(
                f"{root / 'annotations'}: several files could be the split {split!r}: {listed}. "
                f"Rename the one to use to {name}.json."
            )
        if found:
            return found[0]
    return None


def merge_classes(catalog: Catalog, name: str) -> Catalog:
    """The same objects, all of one class."""
    records = tuple(replace(r, labels=np.zeros_like(r.labels)) for r in catalog.records)
    return replace(catalog, classes=(name,), category_ids=(1,), records=records)


def _nothing_found(root: Path, split: Split) -> str:
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir())
    if (root / "annotations").is_dir():
        inside = sorted(p.name for p in (root / "annotations").glob("*.json"))
        names += [f"annotations/{name}" for name in inside]
    found = ", ".join(names[:12]) or "nothing"
    hint = (
        "Set aside some images, whole scenes rather than single frames, as the validation split."
        if split == "val"
        else "Give the folder that holds the data set, or write one of these."
    )
    return (
        f"{root}: no annotations of the split {split!r}. Expected annotations/{split}.json (COCO), "
        f"{split}/_annotations.coco.json, data.yaml (YOLO), Annotations/*.xml (VOC), "
        f"{split}/annotations/*.txt (VisDrone) or {split}/labelTxt/*.txt (DOTA); "
        f"found {found}. {hint}"
    )
