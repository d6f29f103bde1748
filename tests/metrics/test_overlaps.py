"""The sweep against all pairs."""

from collections.abc import Callable

import numpy as np
import pytest

from motedet.metrics import overlaps as module
from motedet.metrics.matching import Ranked
from motedet.metrics.overlaps import Overlaps, find_overlaps
from motedet.metrics.tables import DetectionTable, GroundTruthTable

Entry = dict[str, object]
Scene = tuple[Entry, list[Entry]]


def all_pairs(truth: GroundTruthTable, found: DetectionTable) -> dict[tuple[int, int], list[float]]:
    """(detection, gt) -> IoU and share of the detection, where above 0."""
    answer = {}
    for d, (x, y, w, h) in enumerate(found.boxes_xywh.tolist()):
        for g, (x2, y2, w2, h2) in enumerate(truth.boxes_xywh.tolist()):
            same = truth.image[g] == found.image[d] and truth.category[g] == found.category[d]
            width = min(x + w, x2 + w2) - max(x, x2)
            height = min(y + h, y2 + h2) - max(y, y2)
            if same and width > 0 and height > 0:
                inter = width * height
                answer[d, g] = [inter / (w * h + w2 * h2 - inter), inter / (w * h)]
    return answer


def as_dict(overlaps: Overlaps) -> dict[tuple[int, int], list[float]]:
    keys = zip(overlaps.detection.tolist(), overlaps.gt.tolist(), strict=True)
    values = zip(overlaps.iou.tolist(), overlaps.iod.tolist(), strict=True)
    return {key: list(pair) for key, pair in zip(keys, values, strict=True)}


@pytest.mark.parametrize("at_once", [1, 50, 1 << 18], ids=["one-by-one", "parts", "at-once"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_all_pairs(
    seed: int, at_once: int, scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", at_once)
    ground_truth, results = scene(seed)
    truth = GroundTruthTable.of(ground_truth)
    found = Ranked.of(DetectionTable.of(results, truth), cap=30, num_classes=3).table
    overlaps = find_overlaps(truth, found)
    assert as_dict(overlaps) == all_pairs(truth, found)
    assert (np.diff(overlaps.detection) >= 0).all()


@pytest.mark.parametrize("side", ["objects", "detections", "both"])
def test_nothing_on_one_side(side: str, scene: Callable[..., Scene]) -> None:
    counts = {"objects": 0} if side == "objects" else {"detections": 0}
    ground_truth, results = scene(0, **(counts if side != "both" else {"objects": 0, **counts}))
    truth = GroundTruthTable.of(ground_truth)
    found = DetectionTable.of(results, truth)
    assert len(find_overlaps(truth, found).detection) == 0


def test_boxes_that_touch_or_are_empty_have_nothing_in_common() -> None:
    truth = GroundTruthTable.of(
        {
            "images": [{"id": 1}],
            "categories": [{"id": 1}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 10, 10]}],
        }
    )
    boxes = [[0, 10, 10, 10], [20, 10, 5, 5], [10, 20, 5, 5], [12, 12, 0, 4], [12, 12, 2, 2]]
    found = DetectionTable.of(
        [{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.5} for box in boxes], truth
    )
    overlaps = find_overlaps(truth, found)
    assert as_dict(overlaps) == {(4, 0): [0.04, 1.0]}


def test_without_leaves_out_detections(scene: Callable[..., Scene]) -> None:
    ground_truth, results = scene(1)
    truth = GroundTruthTable.of(ground_truth)
    found = DetectionTable.of(results, truth)
    overlaps = find_overlaps(truth, found)
    dropped = np.arange(len(found.scores)) % 2 == 0
    kept = overlaps.without(dropped)
    whole = as_dict(overlaps)
    assert as_dict(kept) == {key: value for key, value in whole.items() if key[0] % 2}
