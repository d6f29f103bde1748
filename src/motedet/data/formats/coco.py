"""COCO detection JSON: the canonical annotation format of the library.

Boxes are `[x, y, width, height]` in pixels, 0-based and half-open: they become x, y, x + width,
y + height, with no 1 added or taken away.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from motedet.data.formats.places import find_image_folder
from motedet.data.records import MARKS, Catalog, ImageRecord, Problem, Row
from motedet.data.tiling import Window
from motedet.errors import DataError
from motedet.structures import Size

Json = dict[str, object]

_CORNER_RULE: Final = (
    "must be [left, top, right, bottom] in whole pixels, 0 <= left < right and 0 <= top < bottom, "
    "right and bottom excluded"
)


def read_coco(
    path: Path,
    *,
    image_folder: Path | None = None,
    classes: Sequence[str] | None = None,
    ignored: Sequence[str] = (),
) -> Catalog:
    """Read a COCO detection file.

    TinyPerson's keys are read too: `uncertain`, `logo` and `in_dense_image` of annotations, and
    `corner` of images, by which several of them can be parts of one file.

    Args:
        path: the JSON file.
        image_folder: the folder that `file_name` is relative to; by default the usual places.
        classes: keep only these, with labels in this order; by default all, in the file's order.
        ignored: names of categories that mark regions in which nothing counts; a file need not
            have them.

    Returns:
        All images and annotations, unfiltered; entries that cannot be used are left out and listed
        in `problems`.

    Raises:
        DataError: if the file is not JSON, not a detection file, or lacks one of `classes`.
    """
    content = load_json(path)
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: expected a COCO object {{...}}; found a {type(content).__name__}."
        )
    category_ids = _category_ids(_list(content, "categories", path), path)
    names = tuple(category_ids) if classes is None else tuple(classes)
    if missing := [name for name in names if name not in category_ids]:
        raise DataError(
            f"{path}: has no class {missing[0]!r}; it has {list(category_ids)}. "
            "Give the classes that the file has, in the order that the labels should follow."
        )
    chosen = tuple(category_ids[name] for name in names)
    reading = _Reading(
        path=path,
        image_folder=image_folder or find_image_folder(path, _image_names(content)),
        labels={category: label for label, category in enumerate(chosen)},
        known=frozenset(category_ids.values()),
        ignored=frozenset(category_ids[name] for name in ignored if name in category_ids),
    )
    for number, item in enumerate(_list(content, "images", path)):
        reading.add_image(item, number)
    for number, item in enumerate(_list(content, "annotations", path)):
        reading.add_annotation(item, number)
    return Catalog(
        classes=names,
        category_ids=chosen,
        records=reading.records(),
        source=path,
        problems=tuple(reading.problems),
    )


def coco_dict(catalog: Catalog, *, image_folder: Path | None = None) -> Json:
    """The catalog as the content of a COCO detection file, for writing or for scoring.

    Annotation ids are kept if they are unique and positive, else counted from 1: COCO scorers take
    a match with an object of id 0 for no match. COCO has no crowds for every class, so those are
    listed once per class, with ids counted anew. TinyPerson's keys are written where there are any.

    Args:
        catalog: images and annotations.
        image_folder: the folder that `file_name` shall be relative to; by default the bare name.
    """
    ids = [int(key) for record in catalog.records for key in record.annotation_ids]
    repeated = any(record.any_class.any() for record in catalog.records)
    keep_ids = len(set(ids)) == len(ids) and min(ids, default=1) > 0 and not repeated
    marks = [name for name in MARKS if any(name in record.marks for record in catalog.records)]
    annotations: list[Json] = []
    for record in catalog.records:
        for row, category in _rows_to_write(record, catalog.category_ids):
            x1, y1, x2, y2 = record.boxes[row].tolist()
            annotations.append(
                {
                    "id": int(record.annotation_ids[row]) if keep_ids else len(annotations) + 1,
                    "image_id": record.image_id,
                    "category_id": category,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(record.areas[row]),
                    "iscrowd": int(record.crowd[row]),
                    "ignore": int(record.ignore[row]),
                    **{name: int(record.marked(name)[row]) for name in marks},
                }
            )
    categories = zip(catalog.category_ids, catalog.classes, strict=True)
    return {
        "images": [_image_entry(record, image_folder) for record in catalog.records],
        "annotations": annotations,
        "categories": [{"id": key, "name": name} for key, name in categories],
    }


def load_json(path: Path) -> object:
    """Parse a JSON file.

    Raises:
        DataError: naming the file, line and column.
    """
    try:
        content: object = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: line {error.lineno}, column {error.colno}: not valid JSON ({error.msg}). "
            "Was the file cut off while it was written or copied?"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8 ({error}).") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}).") from error
    return content


class _BadEntryError(Exception):
    """An entry lacks a key, or a key has the wrong type."""


@dataclass(kw_only=True)
class _Reading:
    """The state of reading one file."""

    path: Path
    image_folder: Path
    labels: dict[int, int]  # category id -> label of the classes that are kept
    known: frozenset[int]
    ignored: frozenset[int]  # category ids of regions in which nothing counts
    images: dict[int, tuple[Path, Size, Window | None]] = field(default_factory=dict)
    rows: dict[int, list[Row]] = field(default_factory=dict)
    annotation_ids: set[int] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def add_image(self, item: object, number: int) -> None:
        """Take in entry `number` of `images`."""
        try:
            entry = _entry(item)
            image_id = _integer(entry, "id")
            size = _integer(entry, "height"), _integer(entry, "width")
            name, window = entry["file_name"], _corner(entry, size)
        except (_BadEntryError, KeyError) as error:
            self._report("bad entry", f"images[{number}]: {_reason(error)}", _id_of(item, "id"))
            return
        if not isinstance(name, str) or not name:
            self._report("bad entry", f"`file_name` must be text; found {name!r}.", image_id)
        elif image_id in self.images:
            message = f"used again by {name}; image ids must be unique."
            self._report("duplicate image id", message, image_id)
        else:
            self.images[image_id] = (self.image_folder / name, size, window)
            self.rows[image_id] = []

    def add_annotation(self, item: object, number: int) -> None:
        """Take in entry `number` of `annotations`."""
        try:
            entry = _entry(item)
            key = _integer(entry, "id") if "id" in entry else number + 1
            image_id, category = _integer(entry, "image_id"), _integer(entry, "category_id")
            box = _box(entry)
            area = _area(entry, box)
        except (_BadEntryError, KeyError) as error:
            message = f"annotations[{number}]: {_reason(error)}"
            self._report("bad entry", message, _id_of(item, "image_id"), _id_of(item, "id"))
            return
        if problem := self._misplaced(key, image_id, category):
            self._report(*problem, image_id, key)
        elif category in self.labels:
            row = Row(
                box,
                self.labels[category],
                key,
                area,
                crowd=bool(entry.get("iscrowd")),
                ignore=bool(entry.get("ignore")),
                marks=frozenset(name for name in MARKS if entry.get(name)),
            )
            self.rows[image_id].append(row)
        elif category in self.ignored:
            row = Row(box, 0, key, area, crowd=True, any_class=True)
            self.rows[image_id].append(row)
        self.annotation_ids.add(key)

    def _misplaced(self, key: int, image_id: int, category: int) -> tuple[str, str] | None:
        """Kind and message if an annotation's ids do not fit the rest of the file."""
        if key in self.annotation_ids:
            return "duplicate annotation id", "used before; ids must be unique within the file."
        if image_id not in self.images:
            return "unknown image id", f"`images` has no image with id {image_id}."
        if category not in self.known:
            return "unknown category", f"category_id {category} is not one of {sorted(self.known)}."
        return None

    def _report(
        self, kind: str, message: str, image_id: int | None, annotation_id: int | None = None
    ) -> None:
        """Note an entry that is left out."""
        problem = Problem(
            severity="fatal",
            kind=kind,
            file=self.path,
            image_id=image_id,
            annotation_id=annotation_id,
            message=message,
        )
        self.problems.append(problem)

    def records(self) -> tuple[ImageRecord, ...]:
        """What was read, as arrays."""
        return tuple(
            ImageRecord.of(
                image_id, path, size=size, rows=self._joined(self.rows[image_id]), window=window
            )
            for image_id, (path, size, window) in self.images.items()
        )

    def _joined(self, rows: list[Row]) -> list[Row]:
        """Crowds that are listed once for every class, as `coco_dict` does, become one of none."""
        labels: dict[tuple[float, float, float, float], set[int]] = {}
        for row in rows:
            if row.crowd and not row.any_class:
                labels.setdefault(row.box, set()).add(row.label)
        everywhere = {box for box, found in labels.items() if 1 < len(found) == len(self.labels)}
        if not everywhere:
            return rows
        joined: list[Row] = []
        for row in rows:
            if not (row.crowd and row.box in everywhere):
                joined.append(row)
            elif row.label == 0:
                joined.append(row._replace(any_class=True))
        return joined


def _rows_to_write(record: ImageRecord, category_ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Row and category id of every entry; crowds of any class have one for each class."""
    for row, (label, any_class) in enumerate(
        zip(record.labels.tolist(), record.any_class.tolist(), strict=True)
    ):
        for category in category_ids if any_class else (category_ids[label],):
            yield row, category


def _list(content: Json, key: str, path: Path) -> list[object]:
    """One of the three lists that make a detection file."""
    value = content.get(key)
    if not isinstance(value, list):
        found = f"keys {sorted(content)[:8]}" if key not in content else type(value).__name__
        raise DataError(
            f"{path}: a COCO detection file needs a list `{key}`; found {found}. "
            "Expected the keys `images`, `annotations`, `categories`."
        )
    return value


def _image_names(content: Json) -> list[str]:
    """`file_name` of every image that has one."""
    images = content.get("images")
    names = (
        [item.get("file_name") for item in images if isinstance(item, dict)]
        if isinstance(images, list)
        else []
    )
    return [name for name in names if isinstance(name, str)]


def _category_ids(items: list[object], path: Path) -> dict[str, int]:
    """Class names and their ids, in the file's order."""
    ids: dict[str, int] = {}
    for number, item in enumerate(items):
        try:
            entry = _entry(item)
            name, key = str(entry["name"]), _integer(entry, "id")
        except (_BadEntryError, KeyError) as error:
            raise DataError(f"{path}: categories[{number}]: {_reason(error)}") from error
        if name in ids or key in ids.values():
            raise DataError(f"{path}: category {name!r} with id {key} is listed twice.")
        ids[name] = key
    return ids


def _entry(item: object) -> Json:
    if not isinstance(item, dict):
        raise _BadEntryError(f"expected an object {{...}}; found {item!r}.")
    return item


def _integer(entry: Json, key: str) -> int:
    """An id or a number of pixels; 3.0 counts as 3."""
    value = entry[key]
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise _BadEntryError(f"`{key}` must be a whole number; found {value!r}.")


def _box(entry: Json) -> tuple[float, float, float, float]:
    """`bbox` as xyxy; its values are judged later, all at once."""
    value = entry["bbox"]
    if (
        not isinstance(value, list)
        or len(value) != 4
        or not all(isinstance(v, int | float) for v in value)
    ):
        raise _BadEntryError(f"`bbox` must be [x, y, width, height] in pixels; found {value!r}.")
    x, y, w, h = cast("list[float]", value)
    return x, y, x + w, y + h


def _corner(entry: Json, size: Size) -> Window | None:
    """The part of the file that an image is; None if it is all of it."""
    value = entry.get("corner")
    if value is None:
        return None
    if (
        not isinstance(value, list)
        or len(value) != 4
        or not all(isinstance(v, int | float) and float(v).is_integer() for v in value)
    ):
        raise _BadEntryError(f"`corner` {_CORNER_RULE}; found {value!r}.")
    left, top, right, bottom = (int(v) for v in value)
    if not (0 <= left < right and 0 <= top < bottom):
        raise _BadEntryError(f"`corner` {_CORNER_RULE}; found {value!r}.")
    window = Window(x=left, y=top, width=right - left, height=bottom - top)
    if window.size != size:
        raise _BadEntryError(
            f"`corner` {value!r} is {window.width} x {window.height} pixels, but the image is said "
            f"to have {size[1]} x {size[0]}; it {_CORNER_RULE}."
        )
    return window


def _area(entry: Json, box: tuple[float, float, float, float]) -> float:
    area = entry.get("area")
    if isinstance(area, int | float):
        return float(area)
    return (box[2] - box[0]) * (box[3] - box[1])


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the key `{error.args[0]}` is missing."
    return str(error)


def _id_of(item: object, key: str) -> int | None:
    """An id for the message, if the broken entry has one."""
    value = item.get(key) if isinstance(item, dict) else None
    return value if isinstance(value, int) else None


def _image_entry(record: ImageRecord, image_folder: Path | None) -> Json:
    name = record.path.relative_to(image_folder).as_posix() if image_folder else record.path.name
    corner = {} if record.window is None else {"corner": list(record.window.corners)}
    return {
        "id": record.image_id,
        "file_name": name,
        "width": record.width,
        "height": record.height,
        **corner,
    }
