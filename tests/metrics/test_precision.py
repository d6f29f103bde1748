"""AP and AR against pycocotools."""

import contextlib
import copy
import io
from collections.abc import Callable

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from motedet.metrics.aitod import AREAS as AITOD_AREAS
from motedet.metrics.coco import AREAS as COCO_AREAS
from motedet.metrics.precision import AreaRange, Curves, precision_recall
from motedet.metrics.tables import DetectionTable, GroundTruthTable


def reference(
    ground_truth: dict[str, object],
    results: list[dict[str, object]],
    *,
    areas: tuple[AreaRange, ...],
    max_dets: tuple[int, ...],
) -> Curves:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(ground_truth)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "bbox")
        evaluation.params.areaRng = [list(area) for area in areas]
        evaluation.params.areaRngLbl = [str(area) for area in areas]
        evaluation.params.maxDets = list(max_dets)
        evaluation.evaluate()
        evaluation.accumulate()
    return Curves(evaluation.eval["precision"], evaluation.eval["recall"], max_dets)


@pytest.mark.parametrize("zero_id", [False, True], ids=["ids-from-1", "ids-from-0"])
@pytest.mark.parametrize(
    ("areas", "max_dets"), [(COCO_AREAS, (1, 5, 20)), (AITOD_AREAS, (1, 100, 1500))]
)
@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools(
    seed: int,
    areas: tuple[AreaRange, ...],
    max_dets: tuple[int, ...],
    zero_id: bool,
    scene: Callable[..., tuple[dict[str, object], list[dict[str, object]]]],
) -> None:
    ground_truth, results = scene(seed, zero_id=zero_id)
    expected = reference(ground_truth, results, areas=areas, max_dets=max_dets)
    truth = GroundTruthTable.of(ground_truth)
    found = DetectionTable.of(results, truth)
    curves = precision_recall(truth, found, areas=areas, max_dets=max_dets)
    np.testing.assert_allclose(curves.precision, expected.precision, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(curves.recall, expected.recall)


def test_a_threshold_that_is_not_there_is_undefined() -> None:
    curves = Curves(np.ones((10, 101, 1, 1, 1)), np.ones((10, 1, 1, 1)), (100,))
    assert curves.ap(iou=0.25) == -1
    assert curves.ap(iou=0.75) == 1
    assert curves.class_ap().tolist() == [1]
    assert curves.ar_by_cap() == {"AR@100": 1}
