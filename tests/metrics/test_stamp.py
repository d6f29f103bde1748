import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

import motedet
from motedet.metrics import AITODProtocol, COCOProtocol
from motedet.metrics.stamp import Stamp, data_hash
from motedet.metrics.tables import GroundTruthTable

Entry = dict[str, Any]
TRUTH: Entry = {
    "images": [{"id": 1}, {"id": 2}],
    "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "ship"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8.1, 8, 5.7, 6], "area": 36},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [9.2, 7, 5, 5], "area": 25},
    ],
}


def hashed(truth: Entry) -> str:
    return data_hash(GroundTruthTable.of(truth))


def test_order_and_ids_of_annotations_do_not_matter() -> None:
    other = {key: entries[::-1] for key, entries in copy.deepcopy(TRUTH).items()}
    for number, entry in enumerate(other["annotations"], start=7):
        entry["id"] = number
    assert hashed(other) == hashed(TRUTH)
    assert len(hashed(TRUTH)) == 64


def test_rounding_on_the_way_through_corners_does_not_matter() -> None:
    other = copy.deepcopy(TRUTH)
    box = other["annotations"][0]["bbox"]
    box[2] = (box[0] + box[2]) - box[0]
    assert box[2] != 5.7
    assert hashed(other) == hashed(TRUTH)


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": [8.2, 8, 5.7, 6]},
        {"area": 35},
        {"image_id": 2},
        {"category_id": 2},
        {"iscrowd": 1},
        {"ignore": 1},
        {"uncertain": 1},
        {"size": 5},
        {"vis": 0.5},
        {"id": 0},
    ],
    ids=str,
)
def test_every_change_of_a_record_changes_the_hash(change: Entry) -> None:
    other = copy.deepcopy(TRUTH)
    other["annotations"][0] |= change
    assert hashed(other) != hashed(TRUTH)


def test_images_and_classes_change_the_hash() -> None:
    assert hashed(TRUTH | {"images": [*TRUTH["images"], {"id": 3}]}) != hashed(TRUTH)
    renamed = [{"id": 1, "name": "boat"}, {"id": 2, "name": "ship"}]
    assert hashed(TRUTH | {"categories": renamed}) != hashed(TRUTH)
    assert hashed(TRUTH | {"annotations": []}) != hashed(TRUTH)


def test_stamp_is_json_and_one_line() -> None:
    truth = GroundTruthTable.of(TRUTH)
    stamp = Stamp.of({"kind": "coco", "max_dets": (1, 10)}, truth, caps=(10, 1, 10))
    record = stamp.as_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["caps"] == [1, 10]
    assert record["motedet"] == motedet.__version__
    assert str(stamp).startswith("coco, caps 1, 10, 2 images, 2 annotations, data ")


@pytest.mark.parametrize("protocol", [COCOProtocol(), AITODProtocol()], ids=["coco", "aitod"])
def test_scores_carry_their_stamp(
    protocol: COCOProtocol | AITODProtocol, scene: Callable[..., tuple[Entry, list[Entry]]]
) -> None:
    ground_truth, results = scene(0)
    record = protocol.score(ground_truth, results).as_dict()
    stamp = record["stamp"]
    assert isinstance(stamp, dict)
    assert stamp["protocol"]["kind"] == protocol.kind
    assert stamp["data_sha256"] == hashed(ground_truth)
    assert stamp["caps"] == list(protocol.max_dets)
