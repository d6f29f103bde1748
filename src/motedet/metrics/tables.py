"""COCO dictionaries as arrays.

The dictionaries are only read. Images and categories are numbered by ascending id, because that
order decides ties in the published evaluators.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from motedet.metrics.entries import (
    Bools,
    Entry,
    Floats,
    Ints,
    box_column,
    checked_entries,
    checked_sections,
    flag_column,
    id_column,
    number_column,
    optional_column,
    places,
    refuse,
    unique_ids,
)

ZERO_ID_NOTE: Final = (
    "an annotation has id 0: as in the published evaluators, a match to it counts as a "
    "false positive; number annotations from 1."
)


@dataclass(frozen=True, slots=True)
class GroundTruthTable:
    """The objects of a COCO ground truth of I images and K classes, in file order.

    Attributes:
        image_ids: [I] ascending.
        category_ids: [K] ascending.
        classes: names of the K categories.
        image: [G] 0..I-1.
        category: [G] 0..K-1.
        boxes_xywh: [G, 4] pixels.
        areas: [G] the file's `area`, or width times height where it has none.
        crowd: [G] regions that absorb any number of detections and are never missed.
        ignore: [G] the file's `ignore`, which COCO and AI-TOD do not read.
        uncertain: [G] TinyPerson's `uncertain`.
        sizes: [G] the file's `size`, or the square root of the area where it has none.
        visibility: [G] the file's `vis_ratio` or `vis`, or 1 where it has neither.
        zero_id: [G] whether the annotation id is 0, which the published evaluators misread.
        notes: what was unusual.
    """

    image_ids: Ints
    category_ids: Ints
    classes: tuple[str, ...]
    image: Ints
    category: Ints
    boxes_xywh: Floats
    areas: Floats
    crowd: Bools
    ignore: Bools
    uncertain: Bools
    sizes: Floats
    visibility: Floats
    zero_id: Bools
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, ground_truth: Mapping[str, object]) -> "GroundTruthTable":
        """Read a COCO dictionary.

        Raises:
            DataError: naming the entry that cannot be used.
        """
        sections = checked_sections(ground_truth)
        images, categories = sections["images"], sections["categories"]
        objects = sections["annotations"]
        image_ids = unique_ids(images, "images")
        category_ids = unique_ids(categories, "categories")
        boxes = box_column(objects, "annotations")
        areas, area_notes = _areas(objects, boxes)
        ids, id_notes = _annotation_ids(objects)
        visibility = optional_column(
            objects, "annotations", key="vis", default=np.ones(len(objects))
        )
        return cls(
            image_ids=image_ids,
            category_ids=category_ids,
            classes=_class_names(categories),
            image=places(objects, "annotations", key="image_id", known=image_ids),
            category=places(objects, "annotations", key="category_id", known=category_ids),
            boxes_xywh=boxes,
            areas=areas,
            crowd=flag_column(objects, key="iscrowd"),
            ignore=flag_column(objects, key="ignore"),
            uncertain=flag_column(objects, key="uncertain"),
            sizes=optional_column(
                objects, "annotations", key="size", default=np.sqrt(areas.clip(min=0))
            ),
            visibility=optional_column(objects, "annotations", key="vis_ratio", default=visibility),
            zero_id=ids == 0,
            notes=(*area_notes, *id_notes),
        )

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.category_ids)

    def renumbered(self) -> "GroundTruthTable":
        """The same objects with ids from 1, so that a match to any of them counts."""
        notes = tuple(note for note in self.notes if note != ZERO_ID_NOTE)
        return replace(self, zero_id=np.zeros_like(self.zero_id), notes=notes)

    def __getitem__(self, rows: Ints | Bools) -> "GroundTruthTable":
        """The objects of an int64 index or a bool mask, in the same images and classes."""
        return replace(
            self,
            image=self.image[rows],
            category=self.category[rows],
            boxes_xywh=self.boxes_xywh[rows],
            areas=self.areas[rows],
            crowd=self.crowd[rows],
            ignore=self.ignore[rows],
            uncertain=self.uncertain[rows],
            sizes=self.sizes[rows],
            visibility=self.visibility[rows],
            zero_id=self.zero_id[rows],
        )


@dataclass(frozen=True, slots=True)
class DetectionTable:
    """Detections of a COCO result list, in file order.

    Attributes:
        image: [D] 0..I-1, rows of the ground truth's images.
        category: [D] 0..K-1.
        boxes_xywh: [D, 4] pixels.
        scores: [D].
    """

    image: Ints
    category: Ints
    boxes_xywh: Floats
    scores: Floats

    @classmethod
    def of(cls, detections: Sequence[Entry], truth: GroundTruthTable) -> "DetectionTable":
        """Read a COCO result list.

        Raises:
            DataError: naming the entry that cannot be used.
        """
        checked_entries(detections, "detections")
        scores = number_column(detections, "detections", key="score")
        refuse(~np.isfinite(scores), detections, "detections", "score must be a finite number")
        return cls(
            image=places(detections, "detections", key="image_id", known=truth.image_ids),
            category=places(detections, "detections", key="category_id", known=truth.category_ids),
            boxes_xywh=box_column(detections, "detections"),
            scores=scores,
        )

    @property
    def areas(self) -> Floats:
        """[D] width times height."""
        return self.boxes_xywh[:, 2] * self.boxes_xywh[:, 3]

    def __getitem__(self, rows: Ints | Bools) -> "DetectionTable":
        """The detections of an int64 index or a bool mask."""
        return DetectionTable(
            self.image[rows], self.category[rows], self.boxes_xywh[rows], self.scores[rows]
        )


def _areas(objects: Sequence[Entry], boxes: Floats) -> tuple[Floats, tuple[str, ...]]:
    """[G] areas of the objects, and a note where they had to be computed."""
    computed = boxes[:, 2] * boxes[:, 3]
    areas = optional_column(objects, "annotations", key="area", default=computed)
    bare = sum("area" not in entry for entry in objects)
    note = f"{bare} annotations have no area: width times height was used."
    return areas, (note,) if bare else ()


def _annotation_ids(objects: Sequence[Entry]) -> tuple[Ints, tuple[str, ...]]:
    """[G] ids of the objects, and notes on ids that the published evaluators misread."""
    if not any("id" in entry for entry in objects):
        return np.arange(1, len(objects) + 1, dtype=np.int64), ()
    ids = id_column(objects, "annotations", key="id")
    notes = []
    if (ids == 0).any():
        notes.append(ZERO_ID_NOTE)
    if len(np.unique(ids)) < len(ids):
        notes.append("annotation ids repeat: each entry was counted as an object of its own.")
    return ids, tuple(notes)


def _class_names(categories: Sequence[Entry]) -> tuple[str, ...]:
    """Names that can be keys, by ascending id: a repeated one gets its id."""
    ids = id_column(categories, "categories", key="id").tolist()
    listed = sorted(
        (i, str(entry.get("name", i))) for i, entry in zip(ids, categories, strict=True)
    )
    names = [name for _, name in listed]
    return tuple(name if names.count(name) == 1 else f"{name} ({i})" for i, name in listed)
