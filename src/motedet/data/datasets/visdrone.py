"""VisDrone-DET, pictures from drones (Zhu et al. 2021, arXiv 2001.06303)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from motedet.data.datasets.converted import first_file, read_converted
from motedet.data.datasets.expected import expected_file
from motedet.data.formats import Split
from motedet.data.formats.visdrone import (
    VISDRONE_CLASSES,
    VisDroneSplit,
    is_visdrone,
    read_visdrone,
    visdrone_folders,
)
from motedet.data.records import Catalog

COCO_NAME: Final = "annotations/VisDrone2019-DET_{}_coco.json"
"""What a COCO file of one part is called."""

SOURCE: Final = (
    "Or the original folders VisDrone2019-DET-train and VisDrone2019-DET-val with images/ and "
    "annotations/*.txt. Get them from https://github.com/VisDrone/VisDrone-Dataset."
)
_IGNORED: Final = ("ignored regions", "ignored-regions", "ignored", "ignore", "others")


@dataclass(frozen=True, kw_only=True)
class VisDrone:
    """`VisDrone2019-DET-{train,val,test-dev}/` with `images/` and `annotations/*.txt`.

    `train/` and `val/` do as well. A COCO file
    `annotations/VisDrone2019-DET_{train,val,test-dev}_coco.json`, or
    `annotations/{train,val,test-dev}.json`, is preferred where there is one.

    Ignored regions and "others" are regions in which nothing of any class counts, in training and
    in scoring; objects of score 0 do not count for their class.

    Attributes:
        val_part: what scores are of.
    """

    kind: Literal["visdrone"] = "visdrone"
    val_part: Literal["val", "test-dev"] = "val"

    @property
    def classes(self) -> tuple[str, ...]:
        """The 10 names, in the order of the category numbers."""
        return VISDRONE_CLASSES

    def catalog(self, root: Path, split: Split) -> Catalog:
        """Read one split.

        Raises:
            DataError: saying which file was expected where, and what was found.
        """
        root = Path(root)
        part: VisDroneSplit = "train" if split == "train" else self.val_part
        path = first_file(root, (COCO_NAME.format(part), f"annotations/{part}.json"))
        if path is None and is_visdrone(root, part):
            return read_visdrone(root, split=part)
        if path is None:
            path = expected_file(root, COCO_NAME.format(part), SOURCE)
        folders = [folder / "images" for folder in visdrone_folders(root, part)]
        original = folders[0] if folders else root / "images"
        return read_converted(path, classes=VISDRONE_CLASSES, original=original, ignored=_IGNORED)
