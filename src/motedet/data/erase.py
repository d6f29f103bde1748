"""Images without what nobody can label: regions painted with their own mean colour.

TinyPerson is trained that way (`erase_with_uncertain`; Yu et al. 2020, arXiv 1912.10664): what may
or may not be a person then teaches neither.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from motedet.data.dataset import read_checked
from motedet.data.datasets.expected import expected_file, expected_folder
from motedet.data.datasets.tinyperson import ERASED, SOURCE
from motedet.data.formats.coco import coco_dict, read_coco
from motedet.data.records import Catalog, ImageRecord, refuse_fatal
from motedet.errors import DataError
from motedet.files import replacing

PARTS: Final = ("train", "test")
_CORNERS: Final = (
    "corner/tiny_set_{}_sw640_sh512.json",
    "corner/task/tiny_set_{}_sw640_sh512_all.json",
)
_QUALITY: Final = 95  # of JPEG files, with all colours kept: close to what was read


def paint_regions(image: Tensor, boxes: NDArray[np.float64]) -> Tensor:
    """Give every region its mean colour.

    A region is every pixel that its box touches. Regions that overlap are painted in order, each
    with the mean of the image as it was before the first.

    Args:
        image: [3, H, W] uint8.
        boxes: [N, 4] xyxy in pixels; may reach out of the image, and must be finite.

    Returns:
        [3, H, W] uint8, another tensor.
    """
    painted = image.clone()
    height, width = image.shape[1:]
    corners = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1)  # [N, 4]
    corners = corners.clip(0, [width, height, width, height]).astype(np.int64)
    for left, top, right, bottom in corners.tolist():
        if left < right and top < bottom:
            region = image[:, top:bottom, left:right].float()  # [3, h, w]
            colour = region.mean(dim=(1, 2), keepdim=True).round()  # [3, 1, 1]
            painted[:, top:bottom, left:right] = colour.to(torch.uint8)
    return painted


def doubtful(record: ImageRecord) -> NDArray[np.bool_]:
    """[G] bool, the annotations marked `ignore`, `uncertain` or `logo`."""
    return record.ignore | record.marked("uncertain") | record.marked("logo")


def erase_folder(source: Path, out: Path | None = None, *, force: bool = False) -> dict[str, int]:
    """Write TinyPerson's images with their doubtful regions erased, and what is left to find.

    The folder has the published names: images under `train/` and `test/` as in the source,
    `annotations/tiny_set_{train,test}.json`, and `annotations/corner/...` where the source has the
    windows of 640 x 512 pixels. Images without doubtful regions are copied as they are. Annotations
    come last, so that a folder with annotations is complete.

    Args:
        source: the folder `tiny_set`; `test/` may be missing.
        out: folder to write into; by default where the data set looks for it, in the source.
        force: replace images and annotations that exist.

    Returns:
        How many regions were erased in each part.

    Raises:
        DataError: if something is missing, cannot be used, or exists already.
    """
    source = Path(source)
    out = source / ERASED if out is None else Path(out)
    if out.resolve() == source.resolve():
        raise DataError(f"{out}: is the source itself; choose another folder to write into.")
    parts = PARTS if (source / "annotations" / "tiny_set_test.json").is_file() else PARTS[:1]
    erased = {}
    for part in parts:
        path = expected_file(source, f"annotations/tiny_set_{part}.json", SOURCE)
        images = expected_folder(source, (part,), SOURCE)
        catalog = read_coco(path, image_folder=images)
        refuse_fatal(catalog.problems)
        _check_free(out, [out / part, out / "annotations" / path.name], force=force)
        for record in catalog.records:
            _erase_file(record, out / part / record.path.relative_to(images))
        _write_annotations(catalog, out / "annotations" / path.name, images)
        erased[part] = sum(int(doubtful(record).sum()) for record in catalog.records)
        for name in _CORNERS:
            corner = source / "annotations" / name.format(part)
            if corner.is_file():
                windows = read_coco(corner, image_folder=images)
                _write_annotations(windows, out / "annotations" / name.format(part), images)
    return erased


def _erase_file(record: ImageRecord, path: Path) -> None:
    """Write one image; a copy of the file if nothing is to be erased."""
    path.parent.mkdir(parents=True, exist_ok=True)
    boxes = record.boxes[doubtful(record)]  # [N, 4]
    if not len(boxes):
        shutil.copyfile(record.path, path)
        return
    if not np.isfinite(boxes).all():
        raise DataError(f"{record.path}: image {record.image_id} has a box that is not finite.")
    painted = paint_regions(read_checked(record), boxes)  # [3, H, W]
    pixels = painted.permute(1, 2, 0).contiguous().numpy()  # [H, W, 3]
    try:
        if path.suffix.lower() in {".jpg", ".jpeg"}:
            Image.fromarray(pixels).save(path, quality=_QUALITY, subsampling=0)
        else:
            Image.fromarray(pixels).save(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be written ({error}).") from error


def _write_annotations(catalog: Catalog, path: Path, images: Path) -> None:
    """The annotations that are left, as a COCO file."""
    refuse_fatal(catalog.problems)
    records = tuple(record[~doubtful(record)] for record in catalog.records)
    content = coco_dict(replace(catalog, records=records), image_folder=images)
    with replacing(path) as written:
        written.write_text(json.dumps(content), encoding="utf-8")


def _check_free(out: Path, paths: Sequence[Path], *, force: bool) -> None:
    """Refuse to write over what exists.

    Raises:
        DataError: naming it.
    """
    found = next((path for path in paths if path.exists()), None)
    if found is not None and not force:
        raise DataError(f"{found}: exists already; choose another folder than {out}, or force it.")
