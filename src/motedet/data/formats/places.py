"""Where the parts of a data folder usually are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from motedet.errors import DataError

Split = Literal["train", "val"]

SPLIT_NAMES: Final[dict[Split, tuple[str, ...]]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
}
"""What files and folders of a split are called."""

_PROBED: Final = 50  # images looked for, evenly over the list; enough to tell folders apart


def find_image_folder(path: Path, names: Sequence[str]) -> Path:
    """The folder that the image names of a COCO file are relative to.

    Looked for beside the file and, if that is in `annotations/`, beside that folder:
    `images/train`, `train`, `images`, or the folder itself; `train` is any part of the file's name.

    Args:
        path: the annotation file.
        names: `file_name` of its images.

    Raises:
        DataError: naming an image that was not found and where it was looked for.
    """
    root = path.parent.parent if path.parent.name.lower().startswith("annot") else path.parent
    places = _places(path, root)
    probes = names[:: max(len(names) // _PROBED, 1)]
    hits = [sum((place / name).is_file() for name in probes) for place in places]
    if probes and max(hits) == 0:
        looked = ", ".join(f"{place}/" for place in places)
        raise DataError(
            f"{path}: its images were not found, for example {probes[0]!r}; looked in {looked}. "
            "Put them there, or give the image folder."
        )
    return places[hits.index(max(hits))]


def _places(path: Path, root: Path) -> list[Path]:
    """Existing folders that may hold the images of an annotation file, likeliest first."""
    words = path.stem.lower().replace("-", "_").split("_")
    for names in SPLIT_NAMES.values():
        if set(words) & set(names):
            words += names
    inner = [place / word for word in words for place in (root / "images", root)]
    places = [*inner, root / "images", path.parent, root]
    return [place for place in dict.fromkeys(places) if place.is_dir()]
