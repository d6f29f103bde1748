import gzip
import json
from pathlib import Path

import pytest
import torch

from motedet.errors import DataError
from motedet.metrics.results import coco_results, read_ground_truth, read_results, to_results
from motedet.structures import Detections

TRUTH = {
    "images": [{"id": 1}],
    "categories": [{"id": 4}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 4, "bbox": [0, 0, 2, 2], "area": 4}],
}
FOUND = [{"image_id": 1, "category_id": 4, "bbox": [0, 0, 2, 2], "score": 0.5}]


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("value", [[], FOUND], ids=["empty", "one"])
def test_results_are_read_back(value: list[object], tmp_path: Path) -> None:
    path = write(tmp_path / "found.json", value)
    assert read_results(path) == value
    assert read_results(path, TRUTH) == value


def test_gzip_is_told_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_bytes(gzip.compress(json.dumps(TRUTH).encode()))
    assert read_ground_truth(path) == TRUTH


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1},\n oops]', r"not JSON: .* at line 2 column 2"),
        (b"", "not JSON"),
        (b"\xff\xfe\xff", "not JSON"),
        (b"\x1f\x8b broken", "cannot be read"),
        (gzip.compress(b"[]")[:-9], "cannot be read"),
        (b"{}", "detections must be a list; got {}"),
        (b"[1]", r"detections\[0\] must be an object; got 1"),
    ],
    ids=["syntax", "empty", "binary", "not-gzip", "cut-gzip", "object", "number"],
)
def test_unusable_results_name_the_file(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_results(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: cannot be read .*No such file"):
        read_ground_truth(tmp_path / "none.json")


def test_unknown_image_is_found_when_the_ground_truth_is_given(tmp_path: Path) -> None:
    path = write(tmp_path / "found.json", [FOUND[0] | {"image_id": 5}])
    assert len(read_results(path)) == 1
    with pytest.raises(DataError, match=r"found\.json: detections\[0\]: image_id 5 is not"):
        read_results(path, TRUTH)


def test_bad_ground_truth_names_file_and_entry(tmp_path: Path) -> None:
    path = write(tmp_path / "truth.json", TRUTH | {"annotations": [{"image_id": 1}]})
    with pytest.raises(DataError, match=r"truth\.json: annotations\[0\]: 'bbox' is missing"):
        read_ground_truth(path)


def test_no_detections_make_no_results() -> None:
    assert coco_results(Detections.empty(), 3, [1]) == []


def test_results_are_xywh_with_the_files_ids() -> None:
    boxes = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    found = Detections(boxes, torch.tensor([0.5]), torch.tensor([1]))
    assert coco_results(found, 3, [10, 20]) == [
        {"image_id": 3, "category_id": 20, "bbox": [1.0, 2.0, 3.0, 6.0], "score": 0.5}
    ]
    assert boxes.tolist() == [[1.0, 2.0, 4.0, 8.0]]


def test_double_boxes_of_the_caller_stay_as_they_were() -> None:
    boxes = torch.tensor([[1.0, 2.0, 4.0, 8.0]], dtype=torch.float64)
    to_results(1, boxes, scores=torch.tensor([0.5]), labels=torch.tensor([0]), category_ids=[1])
    assert boxes.tolist() == [[1.0, 2.0, 4.0, 8.0]]


def test_label_without_category_is_refused() -> None:
    found = Detections(torch.zeros(1, 4), torch.zeros(1), torch.tensor([2]))
    with pytest.raises(DataError, match="image 3: labels run from 2 to 2, but there are 2"):
        coco_results(found, 3, [10, 20])
