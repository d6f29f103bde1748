"""DOTA folders (Ding et al. 2021, arXiv 2102.12219): `images/*.png`, `labelTxt*/*.txt`.

A line is `x1 y1 x2 y2 x3 y3 x4 y4 class difficult`, the corners of a quadrilateral in pixels from
0; its bounding box is the object's box. Files may begin with lines `imagesource:...`, `gsd:...`.
"""

from collections.abc import Collection, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Final

from motedet.data.formats.line_files import Entry, Part, has_texts, line_catalog, read_line_files
from motedet.data.formats.places import SPLIT_NAMES, Split
from motedet.data.records import Catalog
from motedet.errors import DataError

_FORM: Final = "x1 y1 x2 y2 x3 y3 x4 y4 class difficult"
_HEADERS: Final = ("imagesource", "gsd")
_CORNERS: Final = 8  # numbers


def read_dota(
    root: Path,
    *,
    split: Split | None = None,
    classes: Sequence[str] | None = None,
    known: Collection[str] | None = None,
    version: str | None = None,
    ignore_difficult: bool = False,
) -> Catalog:
    """Read a DOTA folder of whole images.

    Args:
        root: holds `train/` and `val/` with `images/` and `labelTxt/`, `labelTxt-v2.0/` or
            `labelTxt-v2.0/DOTA-v2.0_train/`; or itself holds these.
        split: which part; by default all.
        classes: keep only these, with labels in this order; by default all names that occur in the
            folder, sorted.
        known: names that may occur, others are problems; by default any.
        version: take no label folders of other versions, such as "2.0"; by default the newest.
        ignore_difficult: objects with a mark other than 0 become regions in which their class does
            not count; the published COCO files count them like all others.

    Returns:
        All images, in order of their names and numbered from 1; broken lines are in `problems`.

    Raises:
        DataError: if there is no such part.
    """
    parts = _parts(root, split, version)
    if not parts:
        raise DataError(
            f"{root}: expected {split or 'train'}/ with images/ and labelTxt-v{version or '2.0'}/ "
            "or labelTxt/ with *.txt; found none."
        )
    parse = partial(_parse, known=known, ignore_difficult=ignore_difficult)
    files, problems = read_line_files(parts, parse)
    names = {entry.name for file in files for entry in file.entries if entry.name is not None}
    kept = tuple(sorted(names) if classes is None else classes)
    ids = range(1, len(kept) + 1)
    return line_catalog(files, problems, classes=kept, category_ids=ids, source=root)


def is_dota(folder: Path, split: Split | None = None) -> bool:
    """Whether a folder looks like a DOTA folder, with this split if one is given."""
    return bool(_parts(folder, split, None))


def _parts(root: Path, split: Split | None, version: str | None) -> list[Part]:
    """The part of a split, or all parts."""
    splits: tuple[Split, ...] = ("train", "val")
    parts = []
    for wanted in splits if split is None else (split,):
        places = [root / name for name in SPLIT_NAMES[wanted]]
        parts += [part for place in places for part in _part(place, version)][:1]
    return parts or ([] if split is not None else _part(root, version))


def _part(place: Path, version: str | None) -> list[Part]:
    """The images and texts of one place, if it has both."""
    if not (place / "images").is_dir():
        return []
    texts = [folder for folder in _text_folders(place, version) if has_texts(folder)]
    return [Part(place / "images", folder) for folder in texts[:1]]


def _text_folders(place: Path, version: str | None) -> list[Path]:
    """Folders that may hold the text files: the newest first, oriented boxes before upright."""
    tops = sorted((p for p in place.glob("labelTxt*") if p.is_dir()), reverse=True)
    if version is not None:
        tops = [top for top in tops if "-v" not in top.name or top.name.endswith(version)]
    below = [[top, *sorted(p for p in top.iterdir() if p.is_dir())] for top in tops]
    return [folder for folders in below for folder in folders]


def _parse(line: str, *, known: Collection[str] | None, ignore_difficult: bool) -> Entry | None:
    """The entry of a line; None for a header."""
    if line.strip("'\"").lower().startswith(_HEADERS):
        return None
    words = line.split()
    if len(words) not in (_CORNERS + 1, _CORNERS + 2):  # the mark may be missing
        raise ValueError(f"expected `{_FORM}`; found {line!r}.")
    try:
        corners = [float(word) for word in words[:_CORNERS]]
        difficult = int(words[_CORNERS + 1]) if len(words) > _CORNERS + 1 else 0
        if not all(map(isfinite, corners)):
            raise ValueError
    except ValueError:
        raise ValueError(f"expected eight numbers in `{_FORM}`; found {line!r}.") from None
    name = words[_CORNERS]
    if known is not None and name not in known:
        raise LookupError(f"class {name!r} is not one of {list(known)}.")
    xs, ys = corners[0::2], corners[1::2]
    box = (min(xs), min(ys), max(xs), max(ys))
    return Entry(name, box, ignored=ignore_difficult and difficult != 0)
