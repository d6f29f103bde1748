"""AI-TOD, tiny objects in aerial images of 800 x 800 px (Wang et al. 2020; v2: Xu et al. 2022)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from motedet.data.datasets.converted import first_file
from motedet.data.datasets.expected import expected_file, expected_folder
from motedet.data.formats import Split, read_annotations
from motedet.data.records import Catalog

AITOD_CLASSES: Final = (
    "airplane",
    "bridge",
    "storage-tank",
    "ship",
    "swimming-pool",
    "vehicle",
    "person",
    "wind-mill",
)

SOURCE: Final = (
    "Get the annotations and the build script from https://github.com/jwwangchn/AI-TOD "
    "(images partly come from xView)."
)
_FILES: Final = {
    "v1": {
        "train": ("small_{}_v1_1.0", "aitod_{}_v1", "aitod_training_v1"),
        "val": ("small_{}_v1_1.0", "aitod_{}_v1", "aitod_validation_v1"),
    },
    "v2": {
        "train": ("small_{}_v2_2.0", "small_{}_v2_1.0", "aitodv2_{}"),
        "val": ("small_{}_v2_2.0", "small_{}_v2_1.0", "aitodv2_{}"),
    },
}
"""Names of the annotation files by version and split, with the part's name put in."""


@dataclass(frozen=True, kw_only=True)
class AITOD:
    """`annotations/small_{trainval,test}_v1_1.0.json` (v2: `_v2_2.0.json`), `trainval/`, `test/`.

    As published: training uses the trainval part, scores are of the test part. Labels follow the
    list of classes above; published code numbers them in the order of the annotation file, which is
    the same in the official files.

    Other names in use are taken where the first is missing: v1 `aitod_{part}_v1.json` and
    `aitod_training_v1.json` with `aitod_validation_v1.json`; v2 `small_{part}_v2_1.0.json` and
    `aitodv2_{part}.json`.

    Attributes:
        version: of the annotations; the images are the same.
        train_part: what is trained on.
        val_part: what scores are of.
    """

    kind: Literal["aitod"] = "aitod"
    version: Literal["v1", "v2"] = "v1"
    train_part: Literal["trainval", "train"] = "trainval"
    val_part: Literal["test", "val"] = "test"

    @property
    def classes(self) -> tuple[str, ...]:
        """The 8 names."""
        return AITOD_CLASSES

    def catalog(self, root: Path, split: Split) -> Catalog:
        """Read one split: "train" is the published trainval part, "val" the published test part.

        Raises:
            DataError: saying which file was expected where, and what was found.
        """
        part = self.train_part if split == "train" else self.val_part
        names = [f"annotations/{name.format(part)}.json" for name in _FILES[self.version][split]]
        path = first_file(root, names) or expected_file(root, names[0], SOURCE)
        images = expected_folder(root, _image_folders(part), SOURCE)
        return read_annotations(path, image_folder=images, classes=AITOD_CLASSES)


def _image_folders(part: str) -> tuple[str, ...]:
    """Where the images of a part may be; trainval holds those of train and of val."""
    own = (part, f"images/{part}", "images")
    return (*own, "trainval") if part in ("train", "val") else own
