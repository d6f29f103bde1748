import numpy as np
import pytest

from motedet.report.matching import covered, match_greedily, overlaps

NONE = np.zeros((0, 4))
NO_LABELS = np.zeros(0, dtype=np.int64)
BOX = np.array([[0.0, 0.0, 4.0, 4.0]])
ZERO = np.zeros(1, dtype=np.int64)


def test_overlap_by_hand() -> None:
    others = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 8, 4], [1, 1, 1, 1]], dtype=np.float64)
    np.testing.assert_allclose(overlaps(BOX, others), [[1, 1 / 3, 0, 0]])
    point = np.array([[1.0, 1.0, 1.0, 1.0]])
    assert overlaps(point, point)[0, 0] == 0


@pytest.mark.parametrize(("count", "gt_count"), [(0, 0), (0, 1), (1, 0)])
def test_empty_sides(count: int, gt_count: int) -> None:
    matches = match_greedily(
        BOX[:count], ZERO[:count], gt_boxes=BOX[:gt_count], gt_labels=ZERO[:gt_count], match_iou=0.5
    )
    assert matches.gt_index.tolist() == [-1] * count
    assert matches.missed.tolist() == [True] * gt_count


def test_an_object_is_found_once_and_only_by_its_class() -> None:
    boxes = np.repeat(BOX, 3, axis=0)
    labels = np.array([1, 0, 0])
    matches = match_greedily(boxes, labels, gt_boxes=BOX, gt_labels=ZERO, match_iou=0.5)
    assert matches.gt_index.tolist() == [-1, 0, -1]
    assert matches.iou.tolist() == [0, 1, 0]
    assert not matches.missed.any()


def test_the_best_free_object_is_taken() -> None:
    gt_boxes = np.array([[0.0, 0, 4, 4], [1, 0, 5, 4]])
    boxes = np.array([[1.0, 0, 5, 4], [1, 0, 5, 4]])
    labels = np.array([0, 0])
    matches = match_greedily(boxes, labels, gt_boxes=gt_boxes, gt_labels=labels, match_iou=0.5)
    assert matches.gt_index.tolist() == [1, 0]


def test_covered_share() -> None:
    regions = np.array([[0.0, 0, 2, 4], [100, 100, 200, 200]])
    assert covered(BOX, regions).tolist() == [0.5]
    assert covered(BOX, NONE).tolist() == [0]
    assert covered(NONE, regions).shape == (0,)
