"""Small random scenes with every awkward thing in them."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

Entry: TypeAlias = dict[str, object]
Scene: TypeAlias = tuple[dict[str, object], list[Entry]]


def _box(generator: np.random.Generator) -> list[float]:
    """A box on a coarse grid, so that equal overlaps and exact range ends occur."""
    x, y = generator.integers(0, 40, 2)
    w, h = generator.choice([2, 4, 8, 16, 32, 40], 2)
    return [float(x), float(y), float(w), float(h)]


def _scene(
    seed: int,
    *,
    images: int = 4,
    classes: int = 3,
    objects: int = 40,
    detections: int = 150,
    zero_id: bool = False,
    crowds: bool = True,
) -> Scene:
    generator = np.random.default_rng(seed)
    image_ids = generator.permutation(range(0, 10 * images, 10))
    category_ids = generator.permutation(range(3, 3 + 2 * classes, 2))
    annotations: list[Entry] = []
    for row in range(objects):
        box = _box(generator)
        annotations.append(
            {
                "id": row + (not zero_id),
                "image_id": int(generator.choice(image_ids)),
                "category_id": int(generator.choice(category_ids)),
                "bbox": box,
                "area": box[2] * box[3] * float(generator.choice([1.0, 0.7])),
                "iscrowd": int(crowds and generator.random() < 0.15),
            }
        )
    results: list[Entry] = []
    for _ in range(detections):
        entry: Entry = {
            "image_id": int(generator.choice(image_ids)),
            "category_id": int(generator.choice(category_ids)),
            "bbox": _box(generator),
        }
        if annotations and generator.random() < 0.6:
            near = annotations[int(generator.integers(len(annotations)))]
            entry = {key: near[key] for key in ("image_id", "category_id", "bbox")}
        results.append(entry | {"score": float(generator.integers(0, 20) / 20)})
    truth: dict[str, object] = {
        "images": [{"id": int(i), "width": 80, "height": 80} for i in image_ids],
        "categories": [{"id": int(k), "name": f"class{k}"} for k in category_ids],
        "annotations": annotations,
    }
    return truth, results


@pytest.fixture
def scene() -> Callable[..., Scene]:
    """The maker of scenes."""
    return _scene
