"""Optimal LRP on cases that can be worked out by hand."""

import numpy as np
import pytest

from motedet.metrics.olrp import OptimalLRP, optimal_lrp
from motedet.metrics.tables import DetectionTable, GroundTruthTable

ALL = [(0.0, 1e10)]


def lrp(objects: list[list[float]], found: list[tuple[list[float], float]]) -> OptimalLRP:
    truth = GroundTruthTable.of(
        {
            "images": [{"id": 1}],
            "categories": [{"id": 1}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": box} for box in objects],
        }
    )
    table = DetectionTable.of(
        [{"image_id": 1, "category_id": 1, "bbox": box, "score": score} for box, score in found],
        truth,
    )
    return optimal_lrp(truth, table, areas=ALL, max_dets=[1, 100])


def test_no_objects_is_undefined() -> None:
    result = lrp([], [([0, 0, 4, 4], 0.5)])
    assert result.error.tolist() == [[[-1, -1]]]
    assert result.summary() == {"oLRP": -1, "oLRP_Loc": -1, "oLRP_FP": -1, "oLRP_FN": -1}


@pytest.mark.parametrize("found", [[], [([50, 50, 4, 4], 0.9)]], ids=["nothing", "only-false"])
def test_nothing_found_is_the_worst(found: list[tuple[list[float], float]]) -> None:
    result = lrp([[0, 0, 4, 4]], found)
    assert result.error.tolist() == [[[1, 1]]]
    assert result.false_negatives.tolist() == [[[1, 1]]]
    assert np.isnan(result.localisation).all()
    assert np.isnan(result.threshold).all()
    assert result.summary() == {"oLRP": 1, "oLRP_Loc": -1, "oLRP_FP": -1, "oLRP_FN": 1}


def test_perfect_detection_has_no_error() -> None:
    result = lrp([[0, 0, 4, 4]], [([0, 0, 4, 4], 0.3)])
    assert result.summary() == {"oLRP": 0, "oLRP_Loc": 0, "oLRP_FP": 0, "oLRP_FN": 0}
    assert result.threshold.tolist() == [[[0.3, 0.3]]]


def test_known_value() -> None:
    # Two objects. The best score finds one at IoU 0.8, the next is false, the third is exact.
    found = [([0.0, 0, 8, 10], 0.9), ([50.0, 0, 8, 8], 0.8), ([20.0, 0, 10, 10], 0.7)]
    result = lrp([[0, 0, 10, 10], [20, 0, 10, 10]], found)
    # Errors along the scores: (0.4 + 1) / 2, (0.4 + 1 + 1) / 3, (0.4 + 1) / 3: the last is least.
    np.testing.assert_allclose(result.error[0, 0], [0.7, 1.4 / 3], atol=1e-12)
    np.testing.assert_allclose(result.localisation[0, 0], [0.2, 0.1], atol=1e-12)
    np.testing.assert_allclose(result.false_positives[0, 0], [0, 1 / 3], atol=1e-12)
    np.testing.assert_allclose(result.false_negatives[0, 0], [0.5, 0], atol=1e-12)
    np.testing.assert_allclose(result.threshold[0, 0], [0.9, 0.7], atol=1e-12)
