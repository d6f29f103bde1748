"""Synthetic scenes as a COCO folder on disk."""

import json
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from motedet.data.formats import Split
from motedet.data.synthetic.scene import CLASSES, Scene, SceneSpec, make_scene
from motedet.errors import DataError

_STREAMS: Final[dict[Split, int]] = {"train": 0, "val": 1}  # so that no scene is in both


def write_scenes(
    folder: Path, spec: SceneSpec | None = None, *, train: int, val: int, seed: int = 0
) -> None:
    """Write `images/*.png` and `annotations/{train,val}.json`, which `Folder` reads.

    Scene number i of a split depends on the seed, the split and i alone.

    Args:
        folder: made if it is missing; files of the same names are replaced.
        spec: what the scenes look like; by default `SceneSpec()`.
        train: number of training scenes.
        val: number of validation scenes.
        seed: of all of them.

    Raises:
        DataError: if `folder` cannot be written.
    """
    spec = spec or SceneSpec()
    folder = Path(folder)
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "annotations").mkdir(exist_ok=True)
        _write_split(folder, "train", [(seed, _STREAMS["train"], i) for i in range(train)], spec)
        _write_split(folder, "val", [(seed, _STREAMS["val"], i) for i in range(val)], spec)
    except OSError as error:
        raise DataError(f"{folder}: scenes cannot be written there ({error.strerror}).") from error


def _write_split(
    folder: Path, split: Split, seeds: list[tuple[int, int, int]], spec: SceneSpec
) -> None:
    """The images of a split and its annotation file."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for image_id, seed in enumerate(seeds, start=1):
        scene = make_scene(spec, seed)
        name = f"{split}_{image_id:05d}.png"
        Image.fromarray(scene.image).save(folder / "images" / name, compress_level=1)
        height, width = spec.size
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        annotations += _annotations(scene, image_id, first_id=len(annotations) + 1)
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations" / f"{split}.json"
    path.write_text(json.dumps(content), encoding="utf-8")


def _annotations(scene: Scene, image_id: int, *, first_id: int) -> list[dict[str, object]]:
    """COCO annotations of one scene, rounded outwards to a hundredth of a pixel."""
    rows: list[dict[str, object]] = []
    corners = np.floor(scene.boxes * [100, 100, -100, -100]) / [100, 100, -100, -100]  # [G, 4]
    for box, label in zip(corners.tolist(), scene.labels.tolist(), strict=True):
        x1, y1, x2, y2 = box
        w, h = round(x2 - x1, 2), round(y2 - y1, 2)
        rows.append(
            {
                "id": first_id + len(rows),
                "image_id": image_id,
                "category_id": label + 1,
                "bbox": [x1, y1, w, h],
                "area": round(w * h, 4),
                "iscrowd": 0,
            }
        )
    return rows
