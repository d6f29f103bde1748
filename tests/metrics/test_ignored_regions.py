"""Shares in regions against painted masks."""

from typing import Any

import numpy as np
import pytest

from motedet.metrics.entries import Ints
from motedet.metrics.ignored_regions import find_regions, inside_regions, scored_classes
from motedet.metrics.tables import GroundTruthTable

Entry = dict[str, Any]
NAMES = ("ignored regions", "pedestrian", "car", "others")


def truth_of(*objects: tuple[int, list[float], int], names: tuple[str, ...] = NAMES) -> Entry:
    """From (category id, box, crowd) in image 1."""
    return {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": k, "name": name} for k, name in enumerate(names)],
        "annotations": [
            {"image_id": 1, "category_id": k, "bbox": box, "iscrowd": crowd}
            for k, box, crowd in objects
        ],
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("car",), [True]),
        (NAMES, [False, True, True, False]),
        (("Ignored-Regions", "car", "Others"), [False, True, False]),
    ],
    ids=["one", "converted", "spelling"],
)
def test_scored_classes(names: tuple[str, ...], expected: list[bool]) -> None:
    truth = GroundTruthTable.of(truth_of(names=names))
    assert scored_classes(truth).tolist() == expected


def test_no_annotations_are_no_regions() -> None:
    assert find_regions(GroundTruthTable.of(truth_of())).tolist() == []


def test_regions_are_a_class_of_that_name_or_crowds_of_all_classes() -> None:
    a, b = [0.0, 0, 9, 9], [20.0, 0, 9, 9]
    truth = truth_of((0, b, 0), (1, a, 1), (2, a, 1), (1, b, 1), (2, b, 0), (3, a, 1))
    region = find_regions(GroundTruthTable.of(truth))
    assert region.tolist() == [True, True, True, False, False, False]


def test_crowd_listed_twice_for_one_class_is_no_region() -> None:
    box = [0.0, 0, 9, 9]
    truth = truth_of((1, box, 1), (1, box, 1), (2, [0.0, 0, 9, 8], 1))
    assert not find_regions(GroundTruthTable.of(truth)).any()


def test_crowds_of_a_single_class_are_no_regions() -> None:
    truth = truth_of((0, [0.0, 0, 9, 9], 1), names=("car",))
    assert not find_regions(GroundTruthTable.of(truth)).any()


def painted(boxes: Ints, regions: Ints) -> list[float]:
    """Shares of xywh boxes, by painting; all within 100 x 100 px."""
    mask = np.zeros((100, 100))
    for x, y, w, h in regions.tolist():
        mask[y : y + h, x : x + w] = 1
    return [float(mask[y : y + h, x : x + w].mean()) for x, y, w, h in boxes.tolist()]


@pytest.mark.parametrize("count", [0, 1, 2, 9])
@pytest.mark.parametrize("seed", range(3))
def test_equals_painting(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    corners = generator.integers(0, 70, (60, 2))
    boxes = np.hstack([corners, generator.integers(1, 30, (60, 2))])
    regions = np.hstack(
        [generator.integers(0, 60, (count, 2)), generator.integers(1, 40, (count, 2))]
    )
    inside = inside_regions(
        boxes + generator.uniform(-0.4, 0.4, boxes.shape),  # rounding takes it away
        np.zeros(60, dtype=np.int64),
        regions_xywh=regions.astype(np.float64),
        region_image=np.zeros(count, dtype=np.int64),
    )
    assert inside.tolist() == [share >= 0.5 for share in painted(boxes, regions)]


def test_exactly_half_is_inside_and_other_images_are_not() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [1, 0, 10, 10], [0, 0, 10, 10], [2, 2, 0.1, 0.1]])
    inside = inside_regions(
        boxes,
        np.array([0, 0, 1, 0]),
        regions_xywh=np.array([[0.0, 0, 5, 20], [2, 0, 3, 20]]),
        region_image=np.array([0, 0]),
    )
    assert inside.tolist() == [True, False, False, True]
