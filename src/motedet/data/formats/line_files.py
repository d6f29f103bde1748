"""Folders with one text file per image and one object per line, as DOTA and VisDrone have them.

Every image has a text file of its name, an empty one if it has no objects. An image without a text
file, or the other way round, is a problem: half of a data set is missing then.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from motedet.data.huge_images import any_size
from motedet.data.images import IMAGE_SUFFIXES, read_image_size
from motedet.data.records import Catalog, ImageRecord, Problem, Row
from motedet.errors import DataError
from motedet.structures import Size


class Part(NamedTuple):
    """One part of a data set.

    Attributes:
        images: folder of the images; they may lie in folders below.
        texts: folder of the text files.
    """

    images: Path
    texts: Path


class Entry(NamedTuple):
    """What one line says.

    Attributes:
        name: the class; None for a region in which nothing of any class counts.
        box: xyxy in pixels.
        ignored: an object that is neither to be found nor wrong to find.
    """

    name: str | None
    box: tuple[float, float, float, float]
    ignored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFile:
    """An image and what its text file says.

    Attributes:
        image_id: counted from 1 over all images in order.
        image: the image file.
        size: (height, width) in pixels.
        entries: one per sound line.
        problems: one per line that cannot be used.
    """

    image_id: int
    image: Path
    size: Size
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]


Parse = Callable[[str], Entry | None]
"""From a line to its entry, None for a line without one.

Raises ValueError for a malformed line, LookupError for an unknown class.
"""


def read_line_files(
    parts: Sequence[Part], parse: Parse
) -> tuple[tuple[LineFile, ...], tuple[Problem, ...]]:
    """Read all text files of some parts, and the sizes of their images.

    Args:
        parts: one or more.
        parse: reads a line.

    Returns:
        The images in order of their names, part by part, and all problems.
    """
    pairs = [pair for part in parts for pair in _pairs(part)]
    with any_size(), ThreadPoolExecutor(max_workers=4) as pool:
        read = list(pool.map(partial(_read, parse=parse), range(1, len(pairs) + 1), pairs))
    files = tuple(item for item in read if isinstance(item, LineFile))
    problems = [[item] if isinstance(item, Problem) else item.problems for item in read]
    return files, tuple(problem for found in problems for problem in found)


def line_catalog(
    files: Iterable[LineFile],
    problems: Sequence[Problem],
    *,
    classes: Sequence[str],
    category_ids: Sequence[int],
    source: Path,
) -> Catalog:
    """The catalog of what was read; objects of other classes are left out.

    Args:
        files: the images.
        problems: of reading them.
        classes: names, in the order of the labels.
        category_ids: one per class.
        source: what was read.
    """
    labels = {name: label for label, name in enumerate(classes)}
    records, count = [], 0
    for file in files:
        rows = []
        for name, box, ignored in file.entries:
            count += 1
            area = (box[2] - box[0]) * (box[3] - box[1])
            if name is None:
                rows.append(Row(box, 0, count, area, crowd=True, any_class=True))
            elif name in labels:
                rows.append(Row(box, labels[name], count, area, crowd=ignored))
        records.append(ImageRecord.of(file.image_id, file.image, size=file.size, rows=rows))
    return Catalog(
        classes=tuple(classes),
        category_ids=tuple(category_ids),
        records=tuple(records),
        source=source,
        problems=tuple(problems),
    )


def has_texts(folder: Path) -> bool:
    """Whether a folder directly holds a text file."""
    return next(folder.glob("*.txt"), None) is not None


def _pairs(part: Part) -> list[tuple[Path | None, Path]]:
    """Image and text file of every name that either has; None for a missing image."""
    images = {
        path.stem: path
        for path in sorted(part.images.rglob("*"), reverse=True)  # the first of equal names stays
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    stems = {path.stem for path in part.texts.glob("*.txt")} | set(images)
    return [(images.get(stem), part.texts / f"{stem}.txt") for stem in sorted(stems)]


def _read(image_id: int, pair: tuple[Path | None, Path], *, parse: Parse) -> LineFile | Problem:
    """One image and its text file, or why they cannot be used."""
    image, path = pair
    if image is None:
        message = "there is no image of this name; get it, or take the file away."
        return _fatal("missing image", path, image_id, message)
    try:
        size = read_image_size(image)
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except DataError as error:
        message = str(error).removeprefix(f"{image}: ")
        return _fatal("unreadable image", image, image_id, message)
    except OSError:
        message = f"expected {path}; an image without objects has an empty one."
        return _fatal("missing annotations", image, image_id, message)
    entries, problems = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            entry = parse(line.strip()) if line.strip() else None
        except (ValueError, LookupError) as error:
            kind = "unknown category" if isinstance(error, LookupError) else "bad entry"
            problems.append(_fatal(kind, path, image_id, f"line {number}: {error}"))
            continue
        if entry is not None:
            entries.append(entry)
    return LineFile(
        image_id=image_id, image=image, size=size, entries=tuple(entries), problems=tuple(problems)
    )


def _fatal(kind: str, file: Path, image_id: int, message: str) -> Problem:
    return Problem(severity="fatal", kind=kind, file=file, image_id=image_id, message=message)
