"""Pascal VOC folders: one XML file per image in `Annotations/`, images in `JPEGImages/`.

The VOC devkit counts pixels from 1 and includes both ends: the box of pixels 1..3 is xmin 1,
xmax 3. Such boxes become xmin - 1, ymin - 1, xmax, ymax. Many labelling tools write VOC files that
count from 0 and exclude the last pixel; those are taken as they are. A folder in which any xmin or
ymin is below 1 cannot count from 1, and that decides, unless `one_based` is given.

`difficult` objects become regions in which nothing counts, as in the VOC evaluation.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

from motedet.data.formats.places import SPLIT_NAMES, Split
from motedet.data.images import IMAGE_SUFFIXES, read_image_size
from motedet.data.records import Catalog, ImageRecord, Problem, Row
from motedet.errors import DataError
from motedet.structures import Size


@dataclass(frozen=True, slots=True)
class _Object:
    """One `object` of an XML file."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True, slots=True)
class _File:
    """What one XML file says."""

    path: Path
    image: Path
    size: Size
    objects: tuple[_Object, ...]


def read_voc(
    root: Path,
    *,
    split: Split | None = None,
    classes: Sequence[str] | None = None,
    image_folder: Path | None = None,
    one_based: bool | None = None,
) -> Catalog:
    """Read a VOC folder.

    Args:
        root: holds `Annotations/` and, for splits, `ImageSets/Main/{train,val}.txt`.
        split: which list of `ImageSets/Main`; by default all XML files.
        classes: keep only these, with labels in this order; by default all names that occur in the
            folder, sorted.
        image_folder: where the images are; by default `JPEGImages/`, `images/` or `Annotations/`.
        one_based: boxes count from 1 and include both ends; None decides by the boxes.

    Returns:
        All images, in order of their names and numbered from 1; broken files are in `problems`.

    Raises:
        DataError: if there are no XML files, or no list of the split.
    """
    paths = sorted((root / "Annotations").glob("*.xml"))
    if not paths:
        raise DataError(f"{root}: expected Annotations/*.xml; found none.")
    folders = [image_folder] if image_folder else [root / "JPEGImages", root / "images", root]
    with ThreadPoolExecutor(max_workers=4) as pool:
        read = list(pool.map(partial(_read_file, folders=folders), paths))
    files = [item for item in read if isinstance(item, _File)]
    problems = [item for item in read if isinstance(item, Problem)]
    if one_based is None:
        one_based = all(min(o.box[:2]) >= 1 for file in files for o in file.objects)
        if not one_based:
            problems.append(_zero_based(root))
    names = sorted({o.name for file in files for o in file.objects})
    kept = tuple(names if classes is None else classes)
    if split is not None:
        stems = _listed(root, split)
        files = [file for file in files if file.path.stem in stems]
    return Catalog(
        classes=kept,
        category_ids=tuple(range(1, len(kept) + 1)),
        records=_records(files, kept, shift=1.0 if one_based else 0.0),
        source=root,
        problems=tuple(problems),
    )


def is_voc(folder: Path) -> bool:
    """Whether a folder looks like a VOC folder."""
    return next((folder / "Annotations").glob("*.xml"), None) is not None


def _records(
    files: Sequence[_File], names: tuple[str, ...], *, shift: float
) -> tuple[ImageRecord, ...]:
    """Records with boxes whose first pixel is `shift`; objects of other classes are left out."""
    records, count = [], 0
    for number, file in enumerate(files, start=1):
        rows = []
        for item in file.objects:
            count += 1
            if item.name in names:
                x1, y1, x2, y2 = item.box
                box = (x1 - shift, y1 - shift, x2, y2)
                area = (box[2] - box[0]) * (box[3] - box[1])
                rows.append(Row(box, names.index(item.name), count, area, crowd=item.difficult))
        records.append(ImageRecord.of(number, file.image, size=file.size, rows=rows))
    return tuple(records)


def _read_file(path: Path, *, folders: Sequence[Path]) -> _File | Problem:
    """One XML file, or what is wrong with it."""
    try:
        tree = ET.parse(path).getroot()
        image = _find_image(tree.findtext("filename") or "", path.stem, folders)
        size = _size(tree) or read_image_size(image)
        return _File(path, image, size, tuple(_object(item) for item in tree.iter("object")))
    except ET.ParseError as error:
        message = f"not valid XML ({error}). Was the file cut off?"
    except (ValueError, DataError) as error:
        message = str(error)
    return Problem(severity="fatal", kind="bad entry", file=path, message=message)


def _object(item: ET.Element) -> _Object:
    name = (item.findtext("name") or "").strip()
    if not name:
        raise ValueError("an `object` has no `name`.")
    corners = [item.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x1, y1, x2, y2 = (float(text or "") for text in corners)
    except ValueError:
        raise ValueError(
            f"`bndbox` of {name!r} needs xmin, ymin, xmax, ymax; found {corners}."
        ) from None
    return _Object(name, (x1, y1, x2, y2), (item.findtext("difficult") or "0").strip() == "1")


def _size(tree: ET.Element) -> Size | None:
    """(height, width), if the file says it; some tools write zeros."""
    height, width = (tree.findtext(f"size/{key}") or "0" for key in ("height", "width"))
    size = int(float(height)), int(float(width))
    return size if min(size) > 0 else None


def _find_image(name: str, stem: str, folders: Sequence[Path]) -> Path:
    """The image file: by the name in the XML file, else by the XML file's own name."""
    for folder in folders:
        if name and (folder / name).is_file():
            return folder / name
        for suffix in sorted(IMAGE_SUFFIXES):
            if (folder / f"{stem}{suffix}").is_file():
                return folder / f"{stem}{suffix}"
    return folders[0] / (name or f"{stem}.jpg")  # missing: whoever opens it says so


def _listed(root: Path, split: Split) -> frozenset[str]:
    """Names of the images of a split."""
    places = [root / "ImageSets" / "Main" / f"{name}.txt" for name in SPLIT_NAMES[split]]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise DataError(
            f"{root}: no list of split {split!r}; expected {places[0].relative_to(root)} with one "
            "image name per line."
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(line.split()[0] for line in lines if line.strip())


def _zero_based(root: Path) -> Problem:
    return Problem(
        severity="tolerated",
        kind="VOC boxes from 0",
        file=root / "Annotations",
        message="some boxes start at 0, so all are read as 0-based and half-open, not as in VOC.",
    )
