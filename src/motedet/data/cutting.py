"""A data set of large images as one of tiles, on disk."""

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from PIL import Image
from torch import Tensor

from motedet.data.annotations import box_problems
from motedet.data.cut_objects import AnyCutRule, VisibleShare
from motedet.data.dataset import read_checked
from motedet.data.datasets import DOTA, Folder, VisDrone, dota, visdrone
from motedet.data.formats import Split, coco_dict
from motedet.data.huge_images import any_size
from motedet.data.records import Catalog, ImageRecord, numbered, refuse_fatal
from motedet.data.tiling import Plan, Window, windows
from motedet.errors import DataError
from motedet.files import replacing, replacing_folder
from motedet.structures import Size

SOURCES: Final[dict[str, tuple[DOTA | Folder | VisDrone, str]]] = {
    "dota": (DOTA(), dota.COCO_NAME),
    "visdrone": (VisDrone(), visdrone.COCO_NAME),
    "folder": (Folder(), "annotations/{}.json"),
}
"""Data sets that can be cut, and what each calls the COCO file of a split."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How images are cut into tiles; the values are those of DOTA's development kit.

    Attributes:
        window: both sides of a tile in pixels, or (height, width).
        overlap: shared by neighbours in pixels, at least; or (vertically, horizontally).
        plan: where tiles lie, see `windows`.
        objects: what becomes of objects that a tile shows only in part.
    """

    window: int | Size = 1024
    overlap: int | Size = 200
    plan: Plan = "inside"
    objects: AnyCutRule = VisibleShare()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        """Check that the tiles are larger than what they share."""
        windows((1, 1), window=self.window, overlap=self.overlap)

    def windows(self, size: Size) -> tuple[Window, ...]:
        """The tiles of an image of (height, width) pixels."""
        return windows(size, window=self.window, overlap=self.overlap, plan=self.plan)


def cut_dataset(
    source: Path, out: Path, cut: Cut, *, dataset: str, split: Split, force: bool = False
) -> Catalog:
    """Write the tiles of one split where the data set of the same name reads them.

    Args:
        source: folder of the data set.
        out: folder to write into: the COCO file in `annotations/`, the tiles in `train/` or `val/`.
        cut: how to cut.
        dataset: a name in `SOURCES`.
        split: which part.
        force: replace what exists.

    Returns:
        The tiles, as they can be read back.

    Raises:
        DataError: if the data cannot be used as it is, or something exists already.
    """
    if dataset not in SOURCES:
        raise DataError(f"the data set must be one of {', '.join(SOURCES)}; found {dataset!r}.")
    spec, file = SOURCES[dataset]
    catalog = spec.catalog(source, split)
    return cut_catalog(catalog, out, cut, file=file.format(split), folder=split, force=force)


def cut_catalog(
    catalog: Catalog, out: Path, cut: Cut, *, file: str, folder: str, force: bool = False
) -> Catalog:
    """Write the tiles of all images and one COCO file.

    Tiles are PNG files named `<image>__1__<x>___<y>.png`, as the development kit names them. One
    image at a time is in memory. Nothing is there before everything is: the tiles come first under
    another name, the COCO file last.

    Args:
        catalog: as read; zero objects are fine.
        out: folder to write into; made if it is missing.
        cut: how to cut.
        file: COCO file, relative to `out`.
        folder: folder of the tiles, relative to `out`.
        force: replace tiles and COCO file that exist.

    Returns:
        The tiles, as they can be read back.

    Raises:
        DataError: at the first fatal problem of the annotations or images, if something exists
            already, or if `out` cannot be written.
    """
    problems = (*catalog.problems, *box_problems(catalog, min_size=0.0))
    refuse_fatal(problems)
    tiles, coco = Path(out) / folder, Path(out) / file
    _check_places(catalog, coco, tiles, force=force)
    records: list[ImageRecord] = []
    try:
        with replacing(coco) as written, replacing_folder(tiles) as part:
            for record, name in zip(catalog.records, _names(catalog.records), strict=True):
                records += _cut_image(record, cut, part, name=name)
            result = replace(
                catalog,
                records=numbered([replace(r, path=tiles / r.path.name) for r in records]),
                source=coco,
                problems=problems,
            )
            written.write_text(json.dumps(coco_dict(result)), encoding="utf-8")
            coco.unlink(missing_ok=True)  # it does not belong to the tiles that come now
    except OSError as error:
        raise DataError(
            f"{out}: tiles cannot be written there ({error.strerror or error})."
        ) from error
    return result


def _cut_image(record: ImageRecord, cut: Cut, folder: Path, *, name: str) -> list[ImageRecord]:
    """Write the tiles of one image, and say what is true in them."""
    with any_size():
        image = read_checked(record)  # [3, H, W]
    plan = cut.windows((record.height, record.width))
    paths = [folder / f"{name}__1__{window.x}___{window.y}.png" for window in plan]
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(lambda window, path: _write_tile(image, window, path), plan, paths))
    return [
        replace(cut.objects(record, window), path=path, window=None)
        for window, path in zip(plan, paths, strict=True)
    ]


def _write_tile(image: Tensor, window: Window, path: Path) -> None:
    """One tile of an image [3, H, W] as a PNG file."""
    x1, y1, x2, y2 = window.corners
    pixels = image[:, y1:y2, x1:x2].permute(1, 2, 0).contiguous().numpy()  # [h, w, 3]
    Image.fromarray(pixels).save(path, compress_level=1)


def _names(records: Sequence[ImageRecord]) -> list[str]:
    """A name for the tiles of every image; with its id where two files have the same name."""
    counts = Counter(record.path.stem for record in records)
    return [
        r.path.stem if counts[r.path.stem] == 1 else f"{r.path.stem}_{r.image_id}" for r in records
    ]


def _check_places(catalog: Catalog, coco: Path, tiles: Path, *, force: bool) -> None:
    """Refuse to write over something that is not ours or not to be replaced.

    Raises:
        DataError: naming it.
    """
    home = tiles.resolve()
    inside = next((r.path for r in catalog.records if home in r.path.resolve().parents), None)
    if inside is not None or coco.resolve() == catalog.source.resolve():
        raise DataError(
            f"{coco if inside is None else inside}: the data set to cut lies where the tiles would "
            "go; choose another folder to write into."
        )
    for path in (coco, tiles):
        if path.exists() and not force:
            raise DataError(
                f"{path}: exists already; choose another folder, or replace it with --force."
            )
    other = next((p for p in tiles.glob("*") if p.is_dir() or p.suffix != ".png"), None)
    if other is not None:
        raise DataError(
            f"{other}: is no tile; the folder {tiles} is not replaced while it holds other files."
        )
