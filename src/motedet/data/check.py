"""Everything that is wrong with a data folder, found before training rather than during it."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from motedet.data.annotations import box_problems, no_objects
from motedet.data.datasets.folder import find_coco_file
from motedet.data.formats import Split, is_dota, is_visdrone, is_voc, is_yolo, read_annotations
from motedet.data.huge_images import any_size
from motedet.data.images import read_image, read_image_size
from motedet.data.rasters import TIFF_SUFFIXES
from motedet.data.records import Catalog, ImageRecord, Problem, Severity, count_kinds
from motedet.data.tiling import Window
from motedet.errors import DataError
from motedet.structures import Size

AITOD_BINS: Final = (
    ("under 2", 0.0, 2.0),
    ("very tiny", 2.0, 8.0),
    ("tiny", 8.0, 16.0),
    ("small", 16.0, 32.0),
    ("medium", 32.0, float("inf")),
)
"""Name, first size, end (excluded) in pixels, of the square root of the box area."""

_ENDS: Final = {".png": b"IEND", ".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9"}
_TAIL: Final = 64  # bytes in which the end mark of a whole file lies


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SplitCheck:
    """What was found in one annotation file, or one part of a folder.

    Attributes:
        name: "train", "val", or the name of the file.
        catalog: as read; None if it could not be read at all.
        problems: in the order of the images.
    """

    name: str
    catalog: Catalog | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CheckReport:
    """What was found in a data folder.

    Attributes:
        path: what was checked.
        splits: one or more.
        problems: of all splits, fatal ones first.
    """

    path: Path
    splits: tuple[SplitCheck, ...]
    problems: tuple[Problem, ...]

    @property
    def catalogs(self) -> tuple[Catalog, ...]:
        """The splits that could be read."""
        return tuple(split.catalog for split in self.splits if split.catalog is not None)

    @property
    def num_images(self) -> int:
        """Images of all splits."""
        return sum(len(catalog) for catalog in self.catalogs)

    @property
    def num_objects(self) -> int:
        """Annotations of all splits, crowds included."""
        return sum(catalog.num_objects for catalog in self.catalogs)

    @property
    def sizes(self) -> NDArray[np.float64]:
        """[N] square root of the area of every box that is not a crowd, in pixels."""
        return np.concatenate([np.zeros(0), *(catalog.sizes() for catalog in self.catalogs)])

    @property
    def bins(self) -> dict[str, int]:
        """Objects by size, by AI-TOD's names."""
        return size_bins(self.sizes)

    @property
    def class_counts(self) -> dict[str, int]:
        """Annotations of each class, crowds included, regions of no class left out."""
        counts: Counter[str] = Counter()
        for catalog in self.catalogs:
            counts.update(dict.fromkeys(catalog.classes, 0))
            for record in catalog.records:
                labels = record.labels[~record.any_class].tolist()
                counts.update(catalog.classes[label] for label in labels)
        return dict(counts)

    @property
    def objects_per_image(self) -> NDArray[np.int64]:
        """[number of images] annotations of each image."""
        records = [record for catalog in self.catalogs for record in catalog.records]
        return np.array([len(record) for record in records], dtype=np.int64)

    @property
    def fatal(self) -> tuple[Problem, ...]:
        """The problems that stop training."""
        return tuple(problem for problem in self.problems if problem.severity == "fatal")

    @property
    def counts(self) -> dict[str, int]:
        """How many problems there are of each kind."""
        return count_kinds(self.problems)


def check_dataset(path: Path, *, decode: bool = False, threads: int = 4) -> CheckReport:
    """Look for everything that is wrong with an annotation file, or a folder of any known format.

    Images are opened and their size is read; a PNG or JPEG whose end is missing, and every file of
    another type, is decoded as well.

    Args:
        path: an annotation file or a data folder; all its splits are looked at.
        decode: decode every image; finds damage in the middle of files, takes minutes per 10,000.
        threads: images are looked at in parallel.

    Raises:
        DataError: if there are no annotations at all.
    """
    path = Path(path)
    splits = []
    for name, source, read in _parts(path):
        try:
            catalog = read()
        except DataError as error:
            message = str(error).removeprefix(f"{source}: ")
            problem = _problem("fatal", "unreadable annotations", source, message)
            splits.append(SplitCheck(name=name, catalog=None, problems=(problem,)))
            continue
        problems = (
            *catalog.problems,
            *image_problems(catalog, decode=decode, threads=threads),
            *box_problems(catalog),
            *_catalog_problems(catalog),
        )
        splits.append(SplitCheck(name=name, catalog=catalog, problems=problems))
    everything = [problem for split in splits for problem in split.problems]
    everything += _shared_images(splits)
    everything.sort(key=lambda problem: problem.severity)  # "fatal" comes first; stable
    return CheckReport(path=path, splits=tuple(splits), problems=tuple(everything))


def size_bins(sizes: NDArray[np.float64]) -> dict[str, int]:
    """Number of objects in each of AI-TOD's bins.

    Args:
        sizes: [N] square root of the box area in pixels.
    """
    return {name: int(((sizes >= low) & (sizes < high)).sum()) for name, low, high in AITOD_BINS}


def _parts(path: Path) -> list[tuple[str, Path, Callable[[], Catalog]]]:
    """Name, source and reader of every split of a path."""
    if not path.is_dir():
        return [(path.stem, path, partial(read_annotations, path))]
    splits: tuple[Split, ...] = ("train", "val")
    files = [(split, find_coco_file(path, split)) for split in splits]
    found: list[tuple[str, Path]] = [(name, file) for name, file in files if file is not None]
    if not found:
        found = [(file.stem, file) for file in sorted((path / "annotations").glob("*.json"))]
    if found:
        return [(name, file, partial(read_annotations, file)) for name, file in found]
    if is_voc(path) and not (path / "ImageSets" / "Main").is_dir():
        return [("all", path, partial(read_annotations, path))]
    parts = _folder_splits(path)
    if parts:
        return [
            (part or "all", path, partial(read_annotations, path, split=part)) for part in parts
        ]
    read_annotations(path)  # says what was expected
    return []


def _folder_splits(path: Path) -> tuple[Split | None, ...]:
    """The splits of a folder without COCO files; (None,) if undivided, () if unknown."""
    splits: tuple[Split, ...] = ("train", "val")
    if is_voc(path):
        return splits if (path / "ImageSets" / "Main").is_dir() else (None,)
    for looks_like in (is_visdrone, is_dota):
        if looks_like(path):
            return tuple(split for split in splits if looks_like(path, split)) or (None,)
    return splits if is_yolo(path) else ()


def image_problems(catalog: Catalog, *, decode: bool = False, threads: int = 4) -> list[Problem]:
    """Files that are missing, unreadable, or of another size than the annotations say.

    Args:
        catalog: whose images are looked at; parts of one file, at the file once.
        decode: decode every image, which finds damage in the middle of files.
        threads: images are looked at in parallel.
    """
    files: dict[Path, list[ImageRecord]] = {}
    for record in catalog.records:
        files.setdefault(record.path, []).append(record)
    look = partial(_file_problems, decode=decode)
    with any_size(), ThreadPoolExecutor(max_workers=threads) as pool:
        return [problem for found in pool.map(look, files.values()) for problem in found]


def _file_problems(records: Sequence[ImageRecord], *, decode: bool) -> list[Problem]:
    """What is wrong with one file, of which the records are all or parts."""
    path, image_id = records[0].path, records[0].image_id
    by_window = path.suffix.lower() in TIFF_SUFFIXES and records[0].window is not None
    try:
        size = read_image_size(path)
        if decode or (not by_window and _looks_cut(path)):
            read_image(path)
    except DataError as error:
        kind = "unreadable image" if path.is_file() else "missing image"
        message = str(error).removeprefix(f"{path}: ")
        return [_problem("fatal", kind, path, message, image_id=image_id)]
    found = (_size_problem(record, size) for record in records)
    return [problem for problem in found if problem is not None]


def _size_problem(record: ImageRecord, size: Size) -> Problem | None:
    """What is wrong if a file of (height, width) pixels is what a record says it is."""
    path, (height, width) = record.path, size
    if record.window is not None:
        _, _, right, bottom = corners = record.window.corners
        if right <= width and bottom <= height:
            return None
        message = f"{width} x {height} px, but annotated as its part {list(corners)} (xyxy)."
        return _problem("fatal", "size mismatch", path, message, image_id=record.image_id)
    if (width, height) == (record.width, record.height):
        return None
    turned = (height, width) == (record.width, record.height)
    advice = (
        "the annotations were made for the turned image: apply the orientation tag to the file."
        if turned
        else "boxes would be misplaced: use the images that the annotations were made for."
    )
    message = f"{width} x {height} px, but annotated as {record.width} x {record.height}; {advice}"
    return _problem("fatal", "size mismatch", path, message, image_id=record.image_id)


def _looks_cut(path: Path) -> bool:
    """Whether only decoding can tell that a file is whole."""
    mark = _ENDS.get(path.suffix.lower())
    if mark is None:
        return True
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _TAIL, 0))
        return mark not in file.read()


def _catalog_problems(catalog: Catalog) -> list[Problem]:
    """What is wrong with the split as a whole, and images that stand out."""
    problems = []
    if not any((~record.crowd).any() for record in catalog.records):
        problems.append(no_objects(catalog))
    seen: set[tuple[Path, Window | None]] = set()
    for record in catalog.records:
        if not len(record):
            message = "it teaches background only."
            problems.append(_tolerated("image without objects", record, message))
        if (record.path, record.window) in seen:
            message = "the same file is listed under several image ids."
            problems.append(_tolerated("image listed twice", record, message))
        seen.add((record.path, record.window))
        rows = np.column_stack([record.boxes, record.labels, record.any_class])  # [G, 6]
        repeated = len(rows) - len(np.unique(rows, axis=0))
        if repeated:
            message = f"{repeated} boxes repeat another of the same class; all are used."
            problems.append(_tolerated("repeated box", record, message))
    used = {
        int(label)
        for record in catalog.records
        for label in np.unique(record.labels[~record.any_class])
    }
    for label, name in enumerate(catalog.classes):
        if label not in used:
            message = f"class {name!r} has no annotations here."
            source = catalog.source
            problems.append(_problem("tolerated", "class without objects", source, message))
    return problems


def _shared_images(splits: Sequence[SplitCheck]) -> Iterable[Problem]:
    """Images that are in two splits, so that scores would be too good."""
    owner: dict[Path, str] = {}
    for split in splits:
        for record in split.catalog.records if split.catalog else ():
            first = owner.setdefault(record.path.resolve(), split.name)
            if first != split.name:
                message = f"it is in {first!r} and in {split.name!r}; scores would be too good."
                yield _tolerated("image in two splits", record, message)


def _tolerated(kind: str, record: ImageRecord, message: str) -> Problem:
    return _problem("tolerated", kind, record.path, message, image_id=record.image_id)


def _problem(
    severity: Severity, kind: str, file: Path, message: str, *, image_id: int | None = None
) -> Problem:
    return Problem(severity=severity, kind=kind, file=file, image_id=image_id, message=message)
