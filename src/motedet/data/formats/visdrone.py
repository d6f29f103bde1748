"""VisDrone-DET folders (Zhu et al. 2021, arXiv 2001.06303): `images/*.jpg`, `annotations/*.txt`.

A line is `x,y,width,height,score,category,truncation,occlusion`, in pixels from 0; some files end
their lines with one more comma. Boxes become x, y, x + width, y + height.

What does not count, as in the VisDrone evaluation: ignored regions (category 0) and "others" (11)
become regions in which nothing of any class counts, because a vehicle there may be of any class.
Objects of score 0 become regions in which their own class does not count.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from motedet.data.formats.line_files import Entry, Part, has_texts, line_catalog, read_line_files
from motedet.data.formats.places import SPLIT_NAMES, Split
from motedet.data.records import Catalog
from motedet.errors import DataError

VISDRONE_CLASSES: Final = (
    *("pedestrian", "people", "bicycle", "car", "van", "truck"),
    *("tricycle", "awning-tricycle", "bus", "motor"),
)
"""Names of categories 1 to 10."""

_IGNORED: Final = (0, len(VISDRONE_CLASSES) + 1)  # ignored regions, others
_FORM: Final = "x,y,width,height,score,category,truncation,occlusion"

VisDroneSplit = Split | Literal["test-dev"]


def read_visdrone(
    root: Path, *, split: VisDroneSplit | None = None, classes: Sequence[str] | None = None
) -> Catalog:
    """Read a VisDrone-DET folder.

    Args:
        root: holds `VisDrone2019-DET-train/` and so on, or `train/` and so on; or itself holds
            `images/` and `annotations/`.
        split: which part; by default all.
        classes: keep only these, with labels in this order; by default all ten.

    Returns:
        All images, in order of their names and numbered from 1; broken lines are in `problems`.

    Raises:
        DataError: if there is no such part, or no such class.
    """
    kept = VISDRONE_CLASSES if classes is None else tuple(classes)
    if missing := [name for name in kept if name not in VISDRONE_CLASSES]:
        raise DataError(f"{root}: has no class {missing[0]!r}; it has {list(VISDRONE_CLASSES)}.")
    parts = _parts(root, split)
    if not parts:
        raise DataError(
            f"{root}: expected VisDrone2019-DET-{split or 'train'}/ with images/ and "
            "annotations/*.txt; found none."
        )
    files, problems = read_line_files(parts, _parse)
    ids = [VISDRONE_CLASSES.index(name) + 1 for name in kept]
    return line_catalog(files, problems, classes=kept, category_ids=ids, source=root)


def is_visdrone(folder: Path, split: VisDroneSplit | None = None) -> bool:
    """Whether a folder looks like a VisDrone-DET folder, with this split if one is given."""
    return bool(_parts(folder, split))


def visdrone_folders(root: Path, split: VisDroneSplit) -> list[Path]:
    """Existing folders that may be a part of the data set, likeliest first."""
    names = (split,) if split == "test-dev" else SPLIT_NAMES[split]
    official = [path for name in names for path in sorted(root.glob(f"VisDrone*-DET-{name}"))]
    return [path for path in (*official, *(root / name for name in names)) if path.is_dir()]


def _parts(root: Path, split: VisDroneSplit | None) -> list[Part]:
    """The part of a split, or all parts."""
    splits: tuple[VisDroneSplit, ...] = ("train", "val", "test-dev")
    parts = []
    for wanted in splits if split is None else (split,):
        folders = [folder for folder in visdrone_folders(root, wanted) if _is_part(folder)]
        parts += [Part(folder / "images", folder / "annotations") for folder in folders[:1]]
    if not parts and split is None and _is_part(root):
        return [Part(root / "images", root / "annotations")]
    return parts


def _is_part(folder: Path) -> bool:
    return (folder / "images").is_dir() and has_texts(folder / "annotations")


def _parse(line: str) -> Entry:
    """The entry of a line."""
    words = line.removesuffix(",").split(",")
    if len(words) != _FORM.count(",") + 1:
        raise ValueError(f"expected `{_FORM}`; found {line!r}.")
    try:
        x, y, w, h, score = (float(word) for word in words[:5])
        category = int(words[5])
    except ValueError:
        raise ValueError(f"expected numbers `{_FORM}`; found {line!r}.") from None
    box = (x, y, x + w, y + h)
    if category in _IGNORED:
        return Entry(None, box)
    if not 1 <= category <= len(VISDRONE_CLASSES):
        raise LookupError(f"category {category} is not one of 0..{_IGNORED[1]}; found {line!r}.")
    return Entry(VISDRONE_CLASSES[category - 1], box, ignored=score == 0)
