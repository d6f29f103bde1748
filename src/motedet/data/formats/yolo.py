"""YOLO folders: one text file per image, one `class x y width height` per line.

Centres and sizes are fractions of the image's width and height; boxes become xyxy in pixels,
half-open. Lines with more than five numbers are polygons (`class x1 y1 x2 y2 ...`) and become their
bounding boxes. An image without a label file has no objects.

Labels of `.../images/.../a.png` are at `.../labels/.../a.txt`, or beside the image. `data.yaml`
names the classes (`names`) and the image folders (`train`, `val`).
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import yaml

from motedet.data.formats.places import SPLIT_NAMES, Split
from motedet.data.images import IMAGE_SUFFIXES, read_image_size
from motedet.data.records import Catalog, ImageRecord, Problem, Row
from motedet.errors import DataError
from motedet.structures import Size


def read_yolo(
    path: Path, *, split: Split | None = None, classes: Sequence[str] | None = None
) -> Catalog:
    """Read a YOLO folder.

    Args:
        path: `data.yaml`; or a folder with `images/` and `labels/`; or a folder of images.
        split: which part; by default all.
        classes: keep only these, with labels in this order; by default all of `data.yaml`. Without
            a `data.yaml` these are the names of class 0, 1, ...

    Returns:
        All images, in order of their paths and numbered from 1; broken lines are in `problems`.

    Raises:
        DataError: if there are no images, or no names for the classes.
    """
    if path.is_dir():
        names = _names_above(path) or tuple(classes or ())
        folders = [path] if split is None else _split_folders(path, split)
    else:
        content = _load_yaml(path)
        names = _names(content, path)
        folders = _listed_folders(content, path, split)
    if not names:
        raise DataError(
            f"{path}: the classes have no names. Put a data.yaml with `names: [...]` there, or "
            "give the classes."
        )
    kept = names if classes is None else tuple(classes)
    if missing := [name for name in kept if name not in names]:
        raise DataError(f"{path}: has no class {missing[0]!r}; it has {list(names)}.")
    reading = _Reading(names, {names.index(name): label for label, name in enumerate(kept)})
    records = reading.read(_images(folders, path))
    return Catalog(
        classes=kept,
        category_ids=tuple(names.index(name) + 1 for name in kept),  # COCO scorers dislike id 0
        records=records,
        source=path,
        problems=tuple(reading.problems),
    )


def is_yolo(folder: Path) -> bool:
    """Whether a folder looks like a YOLO folder."""
    if find_yaml(folder) or (folder / "labels").is_dir():
        return True
    images = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    return any(_label_path(image).is_file() for image in islice(images, 20))


def find_yaml(folder: Path) -> Path | None:
    """The file of a folder that names classes, if there is one; broken files named `data` count."""
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
        except yaml.YAMLError:
            if path.stem == "data":
                return path  # whoever reads it says what is wrong
            continue
        if isinstance(content, dict) and "names" in content:
            return path
    return None


@dataclass
class _Reading:
    """The state of reading one folder."""

    names: tuple[str, ...]
    labels: dict[int, int]  # class number in the files -> label of the classes that are kept
    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def read(self, images: list[Path]) -> tuple[ImageRecord, ...]:
        """The records of images, whose sizes are read from their headers."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            sizes = list(pool.map(_size_or_error, images))
        records = []
        for number, (image, size) in enumerate(zip(images, sizes, strict=True), start=1):
            if isinstance(size, DataError):
                self._report("unreadable image", image, number, str(size))
                continue
            rows = self._rows(_label_path(image), number, size)
            records.append(ImageRecord.of(number, image, size=size, rows=rows))
        return tuple(records)

    def _rows(self, path: Path, image_id: int, size: Size) -> list[Row]:
        """The annotations of one image."""
        rows = []
        lines = _lines(path) if path.is_file() else []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            self.count += 1
            try:
                cls, box = _parse(line, size)
            except ValueError as error:
                self._report("bad entry", path, image_id, f"line {number}: {error}")
                continue
            if not 0 <= cls < len(self.names):
                message = f"line {number}: class {cls} is not one of 0..{len(self.names) - 1}."
                self._report("unknown category", path, image_id, message)
            elif cls in self.labels:
                area = (box[2] - box[0]) * (box[3] - box[1])
                rows.append(Row(box, self.labels[cls], self.count, area))
        return rows

    def _report(self, kind: str, file: Path, image_id: int, message: str) -> None:
        self.problems.append(
            Problem(severity="fatal", kind=kind, file=file, image_id=image_id, message=message)
        )


def _parse(line: str, size: Size) -> tuple[int, tuple[float, float, float, float]]:
    """Class number and xyxy box in pixels of one line."""
    words = line.split()
    if len(words) < 5 or (len(words) > 5 and len(words) % 2 == 0):
        raise ValueError(f"expected `class x y width height` as fractions; found {line.strip()!r}.")
    cls, numbers = int(float(words[0])), [float(word) for word in words[1:]]
    if any(abs(number) > 2 for number in numbers):
        raise ValueError(
            f"found {line.strip()!r}; positions are fractions of the image's width and height, not "
            "pixels."
        )
    if len(numbers) == 4:
        x, y, w, h = numbers
        corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    else:
        xs, ys = numbers[0::2], numbers[1::2]
        corners = (min(xs), min(ys), max(xs), max(ys))
    height, width = size
    return cls, (corners[0] * width, corners[1] * height, corners[2] * width, corners[3] * height)


def _lines(path: Path) -> list[str]:
    """Lines of a text file; bytes that are no text make a line that cannot be read."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _label_path(image: Path) -> Path:
    """Where the labels of an image are: the last folder `images` of its path becomes `labels`."""
    parts = list(image.parts)
    places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
        mirrored = Path(*parts).with_suffix(".txt")
        if mirrored.is_file():
            return mirrored
    return image.with_suffix(".txt")


def _images(folders: Iterable[Path], source: Path) -> list[Path]:
    """All image files of folders and lists, in order, each once."""
    folders = list(folders)
    images = [image for folder in folders for image in _list_images(folder)]
    if not images:
        looked = ", ".join(str(folder) for folder in folders)
        raise DataError(f"{source}: no images found; looked in {looked or 'no folder'}.")
    return sorted(set(images))


def _list_images(folder: Path) -> list[Path]:
    """Images in a folder and below, or those that a text file lists."""
    if folder.is_file():
        return [folder.parent / line.strip() for line in _lines(folder) if line.strip()]
    return [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]


def _split_folders(root: Path, split: Split) -> list[Path]:
    """The usual image folders of a split; which of them exist."""
    names = SPLIT_NAMES[split]
    places = [p for n in names for p in (root / "images" / n, root / n / "images", root / n)]
    found = [place for place in places if place.is_dir()]
    if not found:
        raise DataError(
            f"{root}: no images of split {split!r}; looked for "
            f"{', '.join(str(p.relative_to(root)) for p in places)}."
        )
    return found[:1]


def _load_yaml(path: Path) -> dict[str, object]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not valid YAML ({reason}).") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: expected keys such as `names`, `train`, `val`; found {content!r}."
        )
    return content


def _names(content: dict[str, object], path: Path) -> tuple[str, ...]:
    """Class names: a list, or a mapping from class number to name."""
    names = content.get("names")
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DataError(
                f"{path}: `names` must be numbered 0..{len(names) - 1}; found {names!r}."
            )
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list):
        raise DataError(f"{path}: `names` must list the classes; found {names!r}.")
    return tuple(str(name) for name in names)


def _names_above(folder: Path) -> tuple[str, ...]:
    """Class names of the nearest `data.yaml` in a folder or up to two folders above."""
    for place in (folder, *list(folder.resolve().parents)[:2]):
        if path := find_yaml(place):
            return _names(_load_yaml(path), path)
    return ()


def _listed_folders(content: dict[str, object], path: Path, split: Split | None) -> list[Path]:
    """The image folders that `data.yaml` gives for a split, or for both."""
    folders = []
    for wanted in ("train", "val") if split is None else (split,):
        key = next((name for name in SPLIT_NAMES[wanted] if content.get(name)), None)
        if key is None and split is not None:
            raise DataError(
                f"{path}: has no key {split!r}; it has {list(content)}. Add the image folder of "
                f"the split, such as `{split}: images/{split}`."
            )
        values = content[key] if key else []
        for value in values if isinstance(values, list) else [values]:
            folders.append(_resolve(str(value), content.get("path"), path))
    return folders


def _resolve(value: str, base: object, path: Path) -> Path:
    """An image folder as `data.yaml` means it: relative to its `path`, or to its own folder.

    Exported files often say `../train/images` for a folder that lies beside them.
    """
    roots = [path.parent / str(base)] if base else []
    inside = Path(*[part for part in Path(value).parts if part != ".."])
    places = [root / value for root in (*roots, path.parent)] + [path.parent / inside]
    for place in places:
        if place.exists():
            return place
    raise DataError(
        f"{path}: {value!r} does not exist; looked at {', '.join(str(p) for p in places)}."
    )


def _size_or_error(path: Path) -> Size | DataError:
    try:
        return read_image_size(path)
    except DataError as error:
        return error
