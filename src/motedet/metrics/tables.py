"""COCO dictionaries as arrays, checked once.

The dictionaries are only read. Images and categories are numbered by ascending id, because that
order decides ties in the published evaluators.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import cast

import numpy as np
from numpy.typing import NDArray

from motedet.errors import DataError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Entry = Mapping[str, object]


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
        image_ids = _unique_ids(images, "images")
        category_ids = _unique_ids(categories, "categories")
        boxes = _boxes(objects, "annotations")
        areas, area_notes = _areas(objects, boxes)
        ids, id_notes = _annotation_ids(objects)
        names = {int(_id(c["id"])): str(c.get("name", c["id"])) for c in categories}
        return cls(
            image_ids=image_ids,
            category_ids=category_ids,
            classes=_distinct([names[i] for i in category_ids.tolist()], category_ids.tolist()),
            image=_places(objects, "annotations", key="image_id", known=image_ids),
            category=_places(objects, "annotations", key="category_id", known=category_ids),
            boxes_xywh=boxes,
            areas=areas,
            crowd=np.array([bool(entry.get("iscrowd", 0)) for entry in objects], dtype=np.bool_),
            zero_id=ids == 0,
            notes=(*area_notes, *id_notes),
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
        scores = _numbers(detections, "detections", key="score")
        _refuse(~np.isfinite(scores), detections, "detections", "score must be a finite number")
        return cls(
            image=_places(detections, "detections", key="image_id", known=truth.image_ids),
            category=_places(detections, "detections", key="category_id", known=truth.category_ids),
            boxes_xywh=_boxes(detections, "detections"),
            scores=scores,
        )

    @property
    def areas(self) -> Floats:
        """[D] width times height."""
        return self.boxes_xywh[:, 2] * self.boxes_xywh[:, 3]

    def __getitem__(self, rows: Ints) -> "DetectionTable":
        """The detections of an int64 index."""
        return DetectionTable(
            self.image[rows], self.category[rows], self.boxes_xywh[rows], self.scores[rows]
        )


def checked_sections(ground_truth: object) -> dict[str, Sequence[Entry]]:
    """The lists of a COCO dictionary that matter here.

    Raises:
        DataError: saying what is missing.
    """
    if not isinstance(ground_truth, Mapping):
        raise DataError(
            "the ground truth must be a COCO object with images, annotations and categories; "
            f"got {_short(ground_truth)}."
        )
    sections: dict[str, Sequence[Entry]] = {}
    for key in ("images", "annotations", "categories"):
        if key not in ground_truth:
            raise DataError(
                f"the ground truth needs a list named {key!r}; it has {[*ground_truth]}."
            )
        sections[key] = checked_entries(ground_truth[key], key)
    return sections


def checked_entries(entries: object, section: str) -> Sequence[Entry]:
    """The value itself, if it is a list of objects.

    Raises:
        DataError: naming the section or the first other entry.
    """
    if not isinstance(entries, list | tuple):
        raise DataError(f"{section} must be a list; got {_short(entries)}.")
    if not set(map(type, entries)) <= {dict}:
        for row, entry in enumerate(entries):
            if not isinstance(entry, Mapping):
                raise DataError(f"{section}[{row}] must be an object; got {_short(entry)}.")
    return entries


@contextmanager
def uncollected() -> Iterator[None]:
    """Hold back the cyclic garbage collector while millions of small objects are made.

    They form no cycles, and looking for some again and again takes a third of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse(bad: Bools, entries: Sequence[Entry], section: str, rule: str) -> None:
    """Raise for the first row of a [N] mask."""
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"{section}[{row}]: {rule}; got {_short(entries[row])}.")


def _column(entries: Sequence[Entry], section: str, *, key: str) -> list[object]:
    """The values of one key of all entries."""
    try:
        return [entry[key] for entry in entries]
    except KeyError:
        missing = np.array([key not in entry for entry in entries], dtype=np.bool_)
        _refuse(missing, entries, section, f"{key!r} is missing")
        raise


def _check_each(
    values: Sequence[object], section: str, *, key: str, rule: str, good: Callable[[object], bool]
) -> None:
    """Raise for the first value that is not good; the caller has seen that there may be one."""
    for row, value in enumerate(values):
        if not good(value):
            raise DataError(f"{section}[{row}]: {key!r} must be {rule}; got {_short(value)}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_id(value: object) -> bool:
    """Whole numbers, also those that some writers store as 3.0."""
    return _is_number(value) and float(cast("float", value)).is_integer()


def _id(value: object) -> int:
    if not _is_id(value):
        raise DataError(f"an id must be a whole number; got {_short(value)}.")
    return int(cast("int", value))


def _numbers(entries: Sequence[Entry], section: str, *, key: str) -> Floats:
    """[N] one number of each entry."""
    values = _column(entries, section, key=key)
    if not set(map(type, values)) <= {float, int}:
        _check_each(values, section, key=key, rule="a number", good=_is_number)
    return np.array(values, dtype=np.float64)


def _ids(entries: Sequence[Entry], section: str, *, key: str) -> Ints:
    """[N] one id of each entry."""
    values = _column(entries, section, key=key)
    if not set(map(type, values)) <= {int}:
        _check_each(values, section, key=key, rule="a whole number", good=_is_id)
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError as error:
        raise DataError(f"{section}: a {key!r} does not fit into 64 bits.") from error


def _unique_ids(entries: Sequence[Entry], section: str) -> Ints:
    """[N] ascending ids of the images or categories."""
    ids = _ids(entries, section, key="id")
    ascending, counts = np.unique(ids, return_counts=True)
    if not len(ascending):
        raise DataError(f"the ground truth has no {section}: there is nothing to score.")
    if len(ascending) < len(ids):
        twice = int(ascending[counts > 1][0])
        raise DataError(f"{section}: id {twice} occurs {int(counts.max())} times.")
    return ascending


def _places(entries: Sequence[Entry], section: str, *, key: str, known: Ints) -> Ints:
    """[N] position of each entry's id among the known ones."""
    ids = _ids(entries, section, key=key)
    place = np.searchsorted(known, ids).clip(max=len(known) - 1)  # [N]
    unknown = known[place] != ids
    if unknown.any():
        row = int(unknown.argmax())
        kind = key.removesuffix("_id")
        raise DataError(
            f"{section}[{row}]: {key} {int(ids[row])} is not in the ground truth, which has "
            f"{len(known)} {kind} ids from {int(known[0])} to {int(known[-1])}."
        )
    return place.astype(np.int64)


def _boxes(entries: Sequence[Entry], section: str) -> Floats:
    """[N, 4] the boxes as they stand in the file, xywh."""
    values = _column(entries, section, key="bbox")
    rule = "four numbers [x, y, width, height]"
    if not set(map(type, values)) <= {list, tuple}:
        _check_each(values, section, key="bbox", rule=rule, good=_is_box)
    rows = cast("list[Sequence[object]]", values)
    numbers = list(chain.from_iterable(rows))
    if not (set(map(len, rows)) <= {4} and set(map(type, numbers)) <= {float, int}):
        _check_each(rows, section, key="bbox", rule=rule, good=_is_box)
    boxes = np.array(numbers, dtype=np.float64).reshape(-1, 4)
    good = np.isfinite(boxes) & (boxes >= (-np.inf, -np.inf, 0, 0))  # [N, 4]
    _refuse(
        np.asarray(~good.all(axis=1)),
        entries,
        section,
        "a box needs finite numbers and no negative width or height",
    )
    return boxes


def _is_box(value: object) -> bool:
    return (
        isinstance(value, list | tuple | np.ndarray)
        and len(value) == 4
        and all(map(_is_number, value))
    )


def _areas(objects: Sequence[Entry], boxes: Floats) -> tuple[Floats, tuple[str, ...]]:
    """[G] areas of the objects, and a note where they had to be computed."""
    bare = np.array(["area" not in entry for entry in objects], dtype=np.bool_)
    computed = boxes[:, 2] * boxes[:, 3]
    if not bare.any():
        areas = _numbers(objects, "annotations", key="area")
        _refuse(~np.isfinite(areas), objects, "annotations", "area must be finite")
        return areas, ()
    filled = [
        {"area": area} | dict(entry) for entry, area in zip(objects, computed.tolist(), strict=True)
    ]
    note = f"{int(bare.sum())} annotations have no area: width times height was used."
    return _numbers(filled, "annotations", key="area"), (note,)


def _annotation_ids(objects: Sequence[Entry]) -> tuple[Ints, tuple[str, ...]]:
    """[G] ids of the objects, and notes on ids that the published evaluators misread."""
    if not any("id" in entry for entry in objects):
        return np.arange(1, len(objects) + 1, dtype=np.int64), ()
    ids = _ids(objects, "annotations", key="id")
    notes = []
    if (ids == 0).any():
        notes.append(
            "an annotation has id 0: as in the published evaluators, a match to it counts as a "
            "false positive; number annotations from 1."
        )
    if len(np.unique(ids)) < len(ids):
        notes.append("annotation ids repeat: each entry was counted as an object of its own.")
    return ids, tuple(notes)


def _distinct(names: list[str], ids: list[int]) -> tuple[str, ...]:
    """Class names that can be keys: a repeated one gets its id."""
    return tuple(
        name if names.count(name) == 1 else f"{name} ({i})"
        for name, i in zip(names, ids, strict=True)
    )
