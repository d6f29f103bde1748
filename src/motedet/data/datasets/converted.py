"""COCO files that others made of a data set, beside images that may lie as in the original."""

from collections.abc import Sequence
from pathlib import Path

from motedet.data.formats.coco import read_coco
from motedet.data.records import Catalog
from motedet.errors import DataError


def first_file(root: Path, names: Sequence[str]) -> Path | None:
    """The first of several files under `root` that exists."""
    return next((Path(root) / name for name in names if (Path(root) / name).is_file()), None)


def read_converted(
    path: Path, *, classes: Sequence[str], original: Path, ignored: Sequence[str] = ()
) -> Catalog:
    """Read a COCO file whose images are in the usual places or where the original has them.

    Args:
        path: the file.
        classes: names, in the order of the labels.
        original: image folder of the original layout, tried last.
        ignored: names of categories that mark regions in which nothing counts.

    Raises:
        DataError: if the file cannot be used, or its images are in none of the places.
    """
    try:
        return read_coco(path, classes=classes, ignored=ignored)
    except DataError:
        if not original.is_dir():
            raise
        return read_coco(path, image_folder=original, classes=classes, ignored=ignored)
