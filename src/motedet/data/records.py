"""What a data folder holds, before any image is opened: one record per image, and its problems."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from motedet.data.tiling import Window
from motedet.errors import DataError
from motedet.structures import Size

Severity = Literal["fatal", "tolerated"]

MARKS: Final = ("uncertain", "logo", "in_dense_image")
"""What TinyPerson's files say about an annotation beside COCO's keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong with a data folder, and where.

    Attributes:
        severity: "fatal" problems stop training; "tolerated" ones are counted and named.
        kind: a short name by which problems are counted, such as "zero-size box".
        file: the annotation or image file.
        image_id: the image, if the problem has one.
        annotation_id: the annotation, if the problem has one.
        message: what was found, what was expected, and what happens or is to be done.
    """

    severity: Severity
    kind: str
    file: Path
    image_id: int | None = None
    annotation_id: int | None = None
    message: str

    def __str__(self) -> str:
        """One line: where, what, and what to do."""
        places = [str(self.file)]
        if self.image_id is not None:
            places.append(f"image {self.image_id}")
        if self.annotation_id is not None:
            places.append(f"annotation {self.annotation_id}")
        return f"{', '.join(places)}: {self.kind}: {self.message}"


class Row(NamedTuple):
    """One annotation as a reader met it.

    Attributes:
        box: xyxy in pixels.
        label: 0-based.
        annotation_id: as in the file, or counted.
        area: in square pixels, as the file says, or the box's own.
        crowd: a region in which nothing counts.
        ignore: an object to leave out.
        any_class: a crowd in which nothing of any class counts; its label means nothing.
        marks: those of `MARKS` that it has.
    """

    box: tuple[float, float, float, float]
    label: int
    annotation_id: int
    area: float
    crowd: bool = False
    ignore: bool = False
    any_class: bool = False
    marks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageRecord:
    """One image and everything its annotation file says about it, unfiltered.

    Attributes:
        image_id: as in the file; unique within a catalog.
        path: the image file.
        width: in pixels, as the annotation file says; of the part, where there is a `window`.
        height: in pixels, as the annotation file says; of the part, where there is a `window`.
        boxes: [G, 4] float64 xyxy in pixels of the image. May hold NaN or empty boxes.
        labels: [G] int64, 0-based.
        crowd: [G] bool, regions in which nothing counts (COCO `iscrowd`).
        ignore: [G] bool, objects that the file asks to leave out (COCO `ignore`).
        areas: [G] float64 in square pixels, as the file says; the box's own where it does not.
        annotation_ids: [G] int64.
        any_class: [G] bool, crowds in which nothing of any class counts, such as VisDrone's ignored
            regions; their labels are 0 and mean nothing. By default none.
        window: the part of the file that this image is; by default all of it.
        marks: [G] bool for each of `MARKS` that any annotation has; `marked` gives all of them.
    """

    image_id: int
    path: Path
    width: int
    height: int
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    ignore: NDArray[np.bool_]
    areas: NDArray[np.float64]
    annotation_ids: NDArray[np.int64]
    any_class: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    window: Window | None = None
    marks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """By default no crowd is of any class."""
        if len(self.any_class) != len(self.labels):
            object.__setattr__(self, "any_class", np.zeros(len(self.labels), dtype=np.bool_))

    @classmethod
    def of(
        cls,
        image_id: int,
        path: Path,
        *,
        size: Size,
        rows: Sequence[Row],
        window: Window | None = None,
    ) -> Self:
        """The record of an image from its annotations, one by one.

        Args:
            image_id: unique within the catalog.
            path: the image file.
            size: (height, width) in pixels, of the window if there is one.
            rows: one per annotation.
            window: the part of the file that the image is; None for all of it.
        """
        marks = sorted({name for row in rows for name in row.marks})
        return cls(
            image_id=image_id,
            path=path,
            width=size[1],
            height=size[0],
            boxes=np.array([row.box for row in rows], dtype=np.float64).reshape(-1, 4),
            labels=np.array([row.label for row in rows], dtype=np.int64),
            crowd=np.array([row.crowd for row in rows], dtype=np.bool_),
            ignore=np.array([row.ignore for row in rows], dtype=np.bool_),
            areas=np.array([row.area for row in rows], dtype=np.float64),
            annotation_ids=np.array([row.annotation_id for row in rows], dtype=np.int64),
            any_class=np.array([row.any_class for row in rows], dtype=np.bool_),
            window=window,
            marks={
                name: np.array([name in row.marks for row in rows], dtype=np.bool_)
                for name in marks
            },
        )

    def __len__(self) -> int:
        """The number of annotations, G."""
        return len(self.labels)

    def __getitem__(self, keep: NDArray[np.bool_]) -> "ImageRecord":
        """The same image with the annotations of a [G] bool mask."""
        return replace(
            self,
            boxes=self.boxes[keep],
            labels=self.labels[keep],
            crowd=self.crowd[keep],
            ignore=self.ignore[keep],
            areas=self.areas[keep],
            annotation_ids=self.annotation_ids[keep],
            any_class=self.any_class[keep],
            marks={name: marked[keep] for name, marked in self.marks.items()},
        )

    def marked(self, name: str) -> NDArray[np.bool_]:
        """[G] bool, the annotations that have one of `MARKS`."""
        found = self.marks.get(name)
        return np.zeros(len(self), dtype=np.bool_) if found is None else found


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Catalog:
    """All images of one split.

    Attributes:
        classes: names, in the order of the labels.
        category_ids: the annotation file's own id of every class, in the same order.
        records: one per image.
        source: the annotation file or folder that was read.
        problems: what was wrong in the annotation files.
    """

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    records: tuple[ImageRecord, ...]
    source: Path
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        """The number of images."""
        return len(self.records)

    @property
    def num_objects(self) -> int:
        """The number of annotations of all images, crowds included."""
        return sum(len(record) for record in self.records)

    def sizes(self) -> NDArray[np.float64]:
        """[N] square root of width times height in pixels of every box that is not a crowd."""
        boxes = [record.boxes[~record.crowd] for record in self.records]
        return box_sizes(np.concatenate([np.zeros((0, 4)), *boxes]))  # [N]


def box_sizes(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square root of the area, the field's measure of object size.

    Args:
        boxes: [N, 4] xyxy in pixels.

    Returns:
        [N] in pixels; 0 where a side is negative or not a number.
    """
    sides = np.nan_to_num(boxes[:, 2:] - boxes[:, :2]).clip(min=0.0)  # [N, 2]
    size: NDArray[np.float64] = np.sqrt(sides.prod(axis=1))  # [N]
    return size


def refuse_fatal(problems: Sequence[Problem]) -> None:
    """Raise on the first fatal problem, saying how many there are.

    Raises:
        DataError: naming file, image and annotation.
    """
    fatal = [problem for problem in problems if problem.severity == "fatal"]
    if fatal:
        more = f" ({len(fatal) - 1} more fatal problems)" if len(fatal) > 1 else ""
        raise DataError(f"{fatal[0]}{more}")


def count_kinds(problems: Iterable[Problem]) -> dict[str, int]:
    """How many problems there are of each kind, most frequent first."""
    counts: dict[str, int] = {}
    for problem in problems:
        counts[problem.kind] = counts.get(problem.kind, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def numbered(records: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
    """The same with ids of images and of annotations counted from 1."""
    result: list[ImageRecord] = []
    count = 1
    for image_id, record in enumerate(records, start=1):
        ids = np.arange(count, count + len(record))
        count += len(record)
        result.append(replace(record, image_id=image_id, annotation_ids=ids))
    return tuple(result)
