"""AI-TOD, tiny objects in aerial images of 800 x 800 px (Wang et al. 2020; v2: Xu et al. 2022)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

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
_FILES: Final = {"v1": "small_{}_v1_1.0.json", "v2": "small_{}_v2_2.0.json"}
_PARTS: Final[dict[Split, str]] = {"train": "trainval", "val": "test"}


@dataclass(frozen=True, kw_only=True)
class AITOD:
    """`annotations/small_{trainval,test}_v1_1.0.json` (v2: `_v2_2.0.json`), `trainval/`, `test/`.

    As published: training uses the trainval part, scores are of the test part. Labels follow the
    list of classes above; published code numbers them in the order of the annotation file, which is
    the same in the official files.

    Attributes:
        version: of the annotations; the images are the same.
    """

    kind: Literal["aitod"] = "aitod"
    version: Literal["v1", "v2"] = "v1"

    @property
    def classes(self) -> tuple[str, ...]:
        """The 8 names."""
        return AITOD_CLASSES

    def catalog(self, root: Path, split: Split) -> Catalog:
        """Read one split: "train" is the published trainval part, "val" the published test part.

        Raises:
            DataError: saying which file was expected where, and what was found.
        """
        part = _PARTS[split]
        path = expected_file(root, f"annotations/{_FILES[self.version].format(part)}", SOURCE)
        images = expected_folder(root, (part, f"images/{part}", "images"), SOURCE)
        return read_annotations(path, image_folder=images, classes=AITOD_CLASSES)
