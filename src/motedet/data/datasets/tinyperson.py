"""TinyPerson, persons of about 18 px at the sea (Yu et al. 2020, arXiv 1912.10664)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from motedet.data.datasets.converted import first_file
from motedet.data.datasets.expected import expected_file, expected_folder
from motedet.data.formats import Split
from motedet.data.formats.coco import read_coco
from motedet.data.records import Catalog, ImageRecord
from motedet.errors import DataError

Task = Literal["all", "sea", "earth"]

ERASED: Final = "erase_with_uncertain_dataset"
"""Folder of the images without doubtful regions, and of their annotations."""

SOURCE: Final = "Get the folder tiny_set from https://github.com/ucas-vg/TinyBenchmark."
_CLASSES: Final[dict[Task, str]] = {
    "all": "person",
    "sea": "sea_person",
    "earth": "earth_person",
}


@dataclass(frozen=True, kw_only=True)
class TinyPerson:
    """The folder `tiny_set`, or the one that holds it, with the published names.

    - images: `train/`, `test/` and `erase_with_uncertain_dataset/train/`;
    - training: `mini_annotations/tiny_set_train_{sw640_sh512_all,all}_erase.json`, or
      `annotations/{corner/,}task/tiny_set_train_{sw640_sh512_,}{task}.json`, or
      `annotations/{corner/,}tiny_set_train{_sw640_sh512,}.json`, of the folder of the images;
    - scores: `mini_annotations/tiny_set_test_all.json`, or the same names with `test`.

    Scores are of the whole test images, with `ignore` and `uncertain` as their file has them.

    Attributes:
        task: "all" takes every person for one class; the others ignore persons elsewhere.
        train: what is trained on: the published windows of 640 x 512 pixels, or whole images.
        erased: train on images whose doubtful regions are painted over. `motedet.data.erase` makes
            such a folder.
        ignored: training drops annotations marked `ignore`, as published, so that what they show is
            background; "regions" makes them regions in which nothing counts.
        min_gt_size: train only on images with an object that is wider and higher than this, in
            pixels; null for all.
    """

    kind: Literal["tinyperson"] = "tinyperson"
    task: Task = "all"
    train: Literal["corner", "whole"] = "corner"
    erased: bool = True
    ignored: Literal["drop", "regions"] = "drop"
    min_gt_size: float | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The one name."""
        return (_CLASSES[self.task],)

    def catalog(self, root: Path, split: Split) -> Catalog:
        """Read one split: "train" is the published training part, "val" the published test part.

        Raises:
            DataError: saying which file was expected where, and what was found.
        """
        root = Path(root)
        root = root / "tiny_set" if (root / "tiny_set").is_dir() else root
        place = f"{ERASED}/" if split == "train" and self.erased else ""
        names = self._files(split, place)
        path = first_file(root, names) or expected_file(root, names[0], SOURCE)
        images = expected_folder(root, (place + ("train" if split == "train" else "test"),), SOURCE)
        catalog = one_class(read_coco(path, image_folder=images), self.task)
        return self._for_training(catalog) if split == "train" else catalog

    def _files(self, split: Split, place: str) -> list[str]:
        """Where the annotations of a split may be, under the root."""
        part, task = ("train" if split == "train" else "test"), self.task
        corner = split == "train" and self.train == "corner"
        folder = f"{place}annotations/{'corner/' if corner else ''}"
        cut = "_sw640_sh512" if corner else ""
        names = [
            f"{folder}task/tiny_set_{part}{cut}_{task}.json",
            f"{folder}tiny_set_{part}{cut}.json",
        ]
        if task == "all" and (split == "val" or self.erased):
            ending = "_erase" if split == "train" else ""
            names.insert(0, f"mini_annotations/tiny_set_{part}{cut}_all{ending}.json")
        return names

    def _for_training(self, catalog: Catalog) -> Catalog:
        """The images and annotations to learn from."""
        records = [r for r in catalog.records if self.min_gt_size is None or self._has_large(r)]
        if self.ignored == "regions":
            records = [_with_regions(record) for record in records]
        return replace(catalog, records=tuple(records))

    def _has_large(self, record: ImageRecord) -> bool:
        """Whether an object that counts is wider and higher than `min_gt_size`."""
        sides = record.boxes[~(record.ignore | record.crowd)]  # [N, 4]
        sides = sides[:, 2:] - sides[:, :2]
        return bool((sides > (self.min_gt_size or 0.0)).all(axis=1).any())


def one_class(catalog: Catalog, task: Task) -> Catalog:
    """All annotations as of the task's one class; those of others are marked `ignore`.

    Args:
        catalog: of one class, as the files of the tasks are, or of `sea_person` and `earth_person`.
        task: which persons count.

    Raises:
        DataError: if there are classes by which the persons of the task cannot be told.
    """
    name = _CLASSES[task]
    if len(catalog.classes) > 1 and not _known(catalog.classes):
        raise DataError(
            f"{catalog.source}: expected one class, or the classes 'sea_person' and "
            f"'earth_person'; found {list(catalog.classes)}."
        )
    other = [k for k, found in enumerate(catalog.classes) if found != name]
    told_apart = task != "all" and len(catalog.classes) > 1
    records = tuple(
        replace(
            r,
            labels=np.zeros_like(r.labels),
            ignore=r.ignore | np.isin(r.labels, other) if told_apart else r.ignore,
        )
        for r in catalog.records
    )
    ids = dict(zip(catalog.classes, catalog.category_ids, strict=True))
    return replace(catalog, classes=(name,), category_ids=(ids.get(name, 1),), records=records)


def _known(classes: Sequence[str]) -> bool:
    """Whether the names are those of TinyPerson."""
    return set(classes) == {_CLASSES["sea"], _CLASSES["earth"]}


def _with_regions(record: ImageRecord) -> ImageRecord:
    """Ignored annotations as regions in which nothing counts."""
    crowd = record.crowd | record.ignore  # [G]
    return replace(record, crowd=crowd, ignore=np.zeros_like(record.ignore))
