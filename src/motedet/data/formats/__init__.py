"""One door to annotation files: COCO JSON and the folders of YOLO, VOC, VisDrone and DOTA."""

from collections.abc import Sequence
from pathlib import Path

from motedet.data.formats.coco import coco_dict, read_coco
from motedet.data.formats.dota import is_dota, read_dota
from motedet.data.formats.places import SPLIT_NAMES, Split
from motedet.data.formats.visdrone import is_visdrone, read_visdrone
from motedet.data.formats.voc import is_voc, read_voc
from motedet.data.formats.yolo import find_yaml, is_yolo, read_yolo
from motedet.data.records import Catalog
from motedet.errors import DataError

__all__ = [
    "SPLIT_NAMES",
    "Split",
    "coco_dict",
    "is_dota",
    "is_visdrone",
    "is_voc",
    "is_yolo",
    "read_annotations",
]


def read_annotations(
    path: Path,
    *,
    image_folder: Path | None = None,
    classes: Sequence[str] | None = None,
    split: Split | None = None,
) -> Catalog:
    """Read annotations of any known format.

    Args:
        path: a COCO `.json` file; a YOLO `data.yaml`, or the folder that holds it; a folder of
            images with YOLO labels beside it; a VOC folder with `Annotations/`; a VisDrone-DET or
            DOTA folder with their text files.
        image_folder: where the images of a COCO or VOC file are; by default the usual places.
        classes: keep only these, with labels in this order; by default all, in the file's order.
        split: which part of a folder; by default all of it. A JSON file is one split.

    Returns:
        All images and annotations, unfiltered. Entries that cannot be used are in `problems`.

    Raises:
        DataError: if nothing there is known, saying what was expected.
    """
    path = Path(path)
    if path.suffix.lower() == ".json" and path.is_file():
        return read_coco(path, image_folder=image_folder, classes=classes)
    if path.suffix.lower() in {".yaml", ".yml"} and path.is_file():
        return read_yolo(path, split=split, classes=classes)
    if path.is_dir():
        if is_voc(path):
            return read_voc(path, split=split, classes=classes, image_folder=image_folder)
        if is_visdrone(path):
            return read_visdrone(path, split=split, classes=classes)
        if is_dota(path):
            return read_dota(path, split=split, classes=classes)
        if is_yolo(path):
            return read_yolo(find_yaml(path) or path, split=split, classes=classes)
    found = _listing(path) if path.exists() else "no such file or folder"
    raise DataError(
        f"{path}: no annotations found ({found}). Expected a COCO .json file, a YOLO data.yaml, a "
        "folder of images with YOLO labels (images/, labels/), a VOC folder (Annotations/*.xml), "
        "or a VisDrone-DET or DOTA folder (train/annotations/*.txt, train/labelTxt/*.txt)."
    )


def _listing(path: Path) -> str:
    """What is in a folder, shortly, for a message."""
    if path.is_file():
        return f"a {path.suffix or 'suffixless'} file"
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in path.iterdir())
    return f"it has {', '.join(names[:6]) or 'nothing'}{', ...' if len(names) > 6 else ''}"
