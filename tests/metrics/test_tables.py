"""What is accepted as ground truth and as results, and what is said otherwise."""

import copy
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from motedet.errors import DataError
from motedet.metrics.tables import DetectionTable, GroundTruthTable

Entry = dict[str, object]


def truth_of(**changes: object) -> Entry:
    entry: Entry = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1.0, 2, 3, 4], "area": 12}
    return {
        "images": [{"id": 9}, {"id": 7}],
        "categories": [{"id": 3, "name": "car"}, {"id": 1, "name": "ship"}],
        "annotations": [entry | changes],
    }


def found_of(**changes: object) -> list[Entry]:
    return [
        {"image_id": 7, "category_id": 3, "bbox": [1.0, 2, 3, 4], "score": 0.5},
        {"image_id": 7, "category_id": 3, "bbox": [1.0, 2, 3, 4], "score": 0.5} | changes,
    ]


def test_numbers_by_ascending_id() -> None:
    table = GroundTruthTable.of(truth_of())
    assert table.image_ids.tolist() == [7, 9]
    assert table.classes == ("ship", "car")
    assert table.image.tolist() == [0]
    assert table.category.tolist() == [1]
    assert not table.crowd.any()
    assert table.notes == ()


def test_no_objects_and_no_detections() -> None:
    table = GroundTruthTable.of(truth_of() | {"annotations": []})
    assert table.boxes_xywh.shape == (0, 4)
    assert DetectionTable.of([], table).boxes_xywh.shape == (0, 4)


def test_missing_area_is_computed_and_noted() -> None:
    ground_truth = truth_of()
    del cast("list[Entry]", ground_truth["annotations"])[0]["area"]
    table = GroundTruthTable.of(ground_truth)
    assert table.areas.tolist() == [12]
    assert "1 annotations have no area" in table.notes[0]


def test_missing_annotation_ids_are_fine() -> None:
    ground_truth = truth_of()
    del cast("list[Entry]", ground_truth["annotations"])[0]["id"]
    assert not GroundTruthTable.of(ground_truth).zero_id.any()


def test_id_zero_and_repeated_ids_are_noted() -> None:
    ground_truth = truth_of(id=0)
    annotations = cast("list[Entry]", ground_truth["annotations"])
    ground_truth["annotations"] = annotations * 2
    notes = GroundTruthTable.of(ground_truth).notes
    assert len(notes) == 2
    assert "id 0" in notes[0]
    assert "repeat" in notes[1]


def test_flags_sizes_and_visibility() -> None:
    plain = GroundTruthTable.of(truth_of(area=16))
    assert (plain.ignore.tolist(), plain.uncertain.tolist()) == ([False], [False])
    assert (plain.sizes.tolist(), plain.visibility.tolist()) == ([4], [1])
    flagged = GroundTruthTable.of(truth_of(ignore=1, uncertain=True, size=9, vis=0.5))
    assert (flagged.ignore.tolist(), flagged.uncertain.tolist()) == ([True], [True])
    assert (flagged.sizes.tolist(), flagged.visibility.tolist()) == ([9], [0.5])
    assert GroundTruthTable.of(truth_of(vis=0.5, vis_ratio=0.7)).visibility.tolist() == [0.7]
    assert GroundTruthTable.of(truth_of(area=-4)).sizes.tolist() == [0]


def test_renumbered_has_neither_id_zero_nor_its_note() -> None:
    table = GroundTruthTable.of(truth_of(id=0))
    assert table.zero_id.tolist() == [True]
    again = table.renumbered()
    assert again.zero_id.tolist() == [False]
    assert again.notes == ()


def test_rows_by_index_and_by_mask() -> None:
    table = GroundTruthTable.of(truth_of())
    assert len(table[np.array([0, 0])].areas) == 2
    none = table[np.array([False])]
    assert none.boxes_xywh.shape == (0, 4)
    assert none.image_ids.tolist() == [7, 9]


def test_repeated_class_names_get_their_id() -> None:
    ground_truth = truth_of() | {"categories": [{"id": 3, "name": "car"}, {"id": 1, "name": "car"}]}
    assert GroundTruthTable.of(ground_truth).classes == ("car (1)", "car (3)")


def test_whole_floats_and_numpy_numbers_are_accepted() -> None:
    table = GroundTruthTable.of(truth_of(image_id=7.0, bbox=(1, 2, 3, 4)))
    found = found_of(score=np.float32(0.25), bbox=np.array([1, 2, 3, 4]), category_id=np.int64(3))
    assert DetectionTable.of(found, table).scores.tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 8}, r"annotations\[0\]: image_id 8 is not in the ground truth.*7 to 9"),
        ({"category_id": 2}, r"annotations\[0\]: category_id 2 is not"),
        ({"image_id": "7"}, r"annotations\[0\]: 'image_id' must be a whole number; got '7'"),
        ({"image_id": 7.5}, "must be a whole number; got 7.5"),
        ({"image_id": 2**70}, "does not fit into 64 bits"),
        ({"bbox": [1, 2, 3]}, r"four numbers \[x, y, width, height\]; got \[1, 2, 3\]"),
        ({"bbox": [1, 2, 3, None]}, "four numbers"),
        ({"bbox": "1234"}, "four numbers"),
        ({"bbox": [1, 2, -3, 4]}, "no negative width or height"),
        ({"bbox": [1, 2, 3, float("nan")]}, "finite numbers"),
        ({"area": None}, "'area' must be a number; got None"),
        ({"area": float("nan")}, "area must be finite"),
        ({"size": "small"}, r"annotations\[0\]: 'size' must be a number"),
        ({"id": "a"}, "'id' must be a whole number"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_objects_are_named(changes: Entry, message: str) -> None:
    with pytest.raises(DataError, match=message):
        GroundTruthTable.of(truth_of(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 1}, r"detections\[1\]: image_id 1 is not in the ground truth"),
        ({"category_id": 9}, r"detections\[1\]: category_id 9 is not in the ground truth"),
        ({"score": float("nan")}, r"detections\[1\]: score must be a finite number"),
        ({"score": "high"}, r"detections\[1\]: 'score' must be a number; got 'high'"),
        ({"score": True}, "must be a number; got True"),
        ({"bbox": [0, 0, 1, -1]}, r"detections\[1\]: a box needs finite numbers"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_detections_are_named(changes: Entry, message: str) -> None:
    with pytest.raises(DataError, match=message):
        DetectionTable.of(found_of(**changes), GroundTruthTable.of(truth_of()))


@pytest.mark.parametrize("key", ["image_id", "category_id", "bbox", "score"])
def test_missing_key_is_named(key: str) -> None:
    found = found_of()
    del found[1][key]
    with pytest.raises(DataError, match=rf"detections\[1\]: '{key}' is missing"):
        DetectionTable.of(found, GroundTruthTable.of(truth_of()))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "must be a COCO object"),
        ({}, "needs a list named 'images'"),
        ({"images": {}}, "images must be a list; got {}"),
        ({"images": [3]}, r"images\[0\] must be an object; got 3"),
        (truth_of() | {"images": []}, "has no images"),
        (truth_of() | {"categories": []}, "has no categories"),
        (truth_of() | {"images": [{"id": 7}, {"id": 7}]}, "images: id 7 occurs 2 times"),
    ],
    ids=["list", "empty", "images-object", "number", "no-images", "no-classes", "twice"],
)
def test_bad_ground_truth_is_named(value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        GroundTruthTable.of(cast("Entry", value))


def test_callers_data_stays_as_it_was(
    scene: Callable[..., tuple[dict[str, object], list[dict[str, object]]]],
) -> None:
    ground_truth, results = scene(0)
    before = copy.deepcopy((ground_truth, results))
    DetectionTable.of(results, GroundTruthTable.of(ground_truth))
    assert (ground_truth, results) == before
