"""COCO detection, 2017 splits (Lin et al. 2014, arXiv 1405.0312)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from motedet.data.datasets.expected import expected_file, expected_folder
from motedet.data.formats import Split, read_annotations
from motedet.data.records import Catalog
from motedet.errors import DataError

COCO_CLASSES: Final = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog"),
    *("horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella"),
    *("handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite"),
    *("baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle"),
    *("wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich"),
    *("orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote"),
    *("keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book"),
    *("clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)

SOURCE: Final = "Get COCO 2017 from https://cocodataset.org/#download."


@dataclass(frozen=True, kw_only=True)
class COCODataset:
    """`annotations/instances_{train,val}2017.json` with `train2017/` and `val2017/`.

    Attributes:
        train_part: "trainval" trains on both parts, as Scale Match's pretraining does; scores on
            the second are then of images that were trained on.
    """

    kind: Literal["coco"] = "coco"
    train_part: Literal["train", "trainval"] = "train"

    @property
    def classes(self) -> tuple[str, ...]:
        """The 80 names, in the order of the annotation files."""
        return COCO_CLASSES

    def catalog(self, root: Path, split: Split) -> Catalog:
        """Read one split.

        Raises:
            DataError: saying which file was expected where, and what was found.
        """
        first = _read(root, split)
        if split == "train" and self.train_part == "trainval":
            return _joined(first, _read(root, "val"))
        return first


def _read(root: Path, split: Split) -> Catalog:
    """One part as released."""
    path = expected_file(root, f"annotations/instances_{split}2017.json", SOURCE)
    images = expected_folder(root, (f"{split}2017", f"images/{split}2017"), SOURCE)
    return read_annotations(path, image_folder=images, classes=COCO_CLASSES)


def _joined(one: Catalog, other: Catalog) -> Catalog:
    """The images of both parts, whose ids are of one numbering.

    Raises:
        DataError: if they are not.
    """
    shared = {r.image_id for r in one.records} & {r.image_id for r in other.records}
    if shared:
        raise DataError(
            f"{other.source}: its image id {min(shared)} is also in {one.source.name}; the two "
            "parts of COCO have no image in common."
        )
    records, problems = one.records + other.records, one.problems + other.problems
    return replace(one, records=records, problems=problems)
