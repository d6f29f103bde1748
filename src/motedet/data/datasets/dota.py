"""DOTA-v2.0, objects of all sizes in satellite and aerial images (Ding et al. 2021, 2102.12219)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from motedet.data.datasets.converted import first_file, read_converted
from motedet.data.datasets.expected import expected_file
from motedet.data.formats import Split
from motedet.data.formats.dota import is_dota, read_dota
from motedet.data.records import Catalog

DOTA_CLASSES: Final = (
    *("plane", "baseball-diamond", "bridge", "ground-track-field", "small-vehicle"),
    *("large-vehicle", "ship", "tennis-court", "basketball-court", "storage-tank"),
    *("soccer-ball-field", "roundabout", "harbor", "swimming-pool", "helicopter"),
    *("container-crane", "airport", "helipad"),
)

COCO_NAME: Final = "annotations/dota_v2.0_{}.json"
"""What a COCO file of the tiles of one split is called."""

SOURCE: Final = (
    "Get DOTA-v2.0 from https://captain-whu.github.io/DOTA/dataset.html (most images come with "
    "DOTA-v1.0), with train/images and train/labelTxt-v2.0, and cut it with `motedet tile SOURCE "
    "-o OUT --dataset dota --size 1024 --overlap 200`."
)


@dataclass(frozen=True, kw_only=True)
class DOTA:
    """Tiles: `annotations/dota_v2.0_{train,val}.json` with `train/`, `val/` or `images/`.

    Without these files the original is read, whole images with oriented boxes:
    `{train,val}/images/` and `{train,val}/labelTxt-v2.0/` or `labelTxt/`. The oriented boxes become
    their upright bounding boxes. `motedet tile` makes the first of the second.

    Attributes:
        version: of the annotations and classes.
        ignore_difficult: objects of the original marked as difficult do not count; the published
            COCO files count them like all others.
    """

    kind: Literal["dota"] = "dota"
    version: Literal["v2"] = "v2"
    ignore_difficult: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The 18 names."""
        return DOTA_CLASSES

    def catalog(self, root: Path, split: Split) -> Catalog:
        """Read one split.

        Raises:
            DataError: saying which file was expected where, and what was found.
        """
        root = Path(root)
        path = first_file(root, (COCO_NAME.format(split),))
        if path is None and is_dota(root, split):
            return read_dota(
                root,
                split=split,
                classes=DOTA_CLASSES,
                known=DOTA_CLASSES,
                version="2.0",
                ignore_difficult=self.ignore_difficult,
            )
        if path is None:
            path = expected_file(root, COCO_NAME.format(split), SOURCE)
        return read_converted(path, classes=DOTA_CLASSES, original=root / split / "images")
