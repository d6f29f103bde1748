"""The array matcher against the published loop, written out."""

from collections.abc import Callable

import numpy as np
import pytest

from motedet.metrics.entries import Bools, Ints
from motedet.metrics.matching import (
    Ranked,
    Wishes,
    absorbing_wishes,
    judge,
    match,
    match_pairs,
    settle,
)
from motedet.metrics.overlaps import find_overlaps
from motedet.metrics.tables import DetectionTable, GroundTruthTable

Entry = dict[str, object]
AREAS = [(0.0, 1e10), (0.0, 64.0), (64.0, 256.0)]


def overlap_of(box: list[float], other: list[float], *, crowd: bool) -> float:
    width = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    height = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter, area = width * height, box[2] * box[3]
    return inter / (area if crowd else area + other[2] * other[3] - inter)


def greedy(
    truth: GroundTruthTable, found: DetectionTable, *, ignored: Bools, threshold: float
) -> Ints:
    """Object of each detection by metrics.md section 1, step 3, line by line."""
    taken: set[int] = set()
    answer = []
    for d in range(len(found.scores)):
        rows = [
            g
            for g in range(len(ignored))
            if truth.image[g] == found.image[d] and truth.category[g] == found.category[d]
        ]
        best, chosen = min(threshold, 1 - 1e-10), -1
        for g in sorted(rows, key=lambda g: bool(ignored[g])):
            crowd = bool(truth.crowd[g])
            if g in taken and not crowd:
                continue
            if chosen >= 0 and not ignored[chosen] and ignored[g]:
                break
            box, other = found.boxes_xywh[d].tolist(), truth.boxes_xywh[g].tolist()
            value = overlap_of(box, other, crowd=crowd)
            if value >= best:
                best, chosen = value, g
        taken.add(chosen)
        answer.append(chosen)
    return np.array(answer, dtype=np.int64)


@pytest.mark.parametrize("threshold", [0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_published_loop(
    seed: int, threshold: float, scene: Callable[..., tuple[Entry, list[Entry]]]
) -> None:
    ground_truth, results = scene(seed)
    truth = GroundTruthTable.of(ground_truth)
    found = Ranked.of(DetectionTable.of(results, truth), cap=30, num_classes=3).table
    pairs = match_pairs(truth, found, threshold=threshold)
    for low, high in AREAS:
        ignored = truth.crowd | (truth.areas < low) | (truth.areas > high)
        wishes = Wishes.of(pairs, ignored=ignored, crowd=truth.crowd)
        row = match(wishes, num_detections=len(found.scores), num_objects=len(ignored))
        expected = greedy(truth, found, ignored=ignored, threshold=threshold)
        np.testing.assert_array_equal(np.where(row >= 0, wishes.gt[row], -1), expected)
        matched = row >= 0
        np.testing.assert_array_equal(wishes.detection[row[matched]], np.flatnonzero(matched))


def one_class(
    boxes: list[list[float]], *, crowd: list[bool] | None = None
) -> tuple[GroundTruthTable, Callable[[list[list[float]]], DetectionTable]]:
    truth = GroundTruthTable.of(
        {
            "images": [{"id": 1}],
            "categories": [{"id": 1}],
            "annotations": [
                {
                    "image_id": 1,
                    "category_id": 1,
                    "bbox": box,
                    "iscrowd": bool(crowd and crowd[row]),
                }
                for row, box in enumerate(boxes)
            ],
        }
    )

    def detect(found: list[list[float]]) -> DetectionTable:
        return DetectionTable.of(
            [
                {"image_id": 1, "category_id": 1, "bbox": box, "score": 1.0 - 0.01 * row}
                for row, box in enumerate(found)
            ],
            truth,
        )

    return truth, detect


def test_no_objects_makes_every_detection_false() -> None:
    truth, detect = one_class([])
    found = detect([[0, 0, 4, 4], [9, 9, 4, 4]])
    judged = judge(match_pairs(truth, found, threshold=0.5), truth, found, area=(0, 1e10))
    assert judged.false.tolist() == [True, True]
    assert judged.num_objects.tolist() == [0]


def test_no_detections_makes_no_pairs() -> None:
    truth, detect = one_class([[0, 0, 4, 4]])
    found = detect([])
    pairs = match_pairs(truth, found, threshold=0.5)
    assert len(pairs.detection) == 0
    judged = judge(pairs, truth, found, area=(0, 1e10))
    assert judged.num_objects.tolist() == [1]
    assert len(judged.positive) == 0


def test_second_detection_of_an_object_is_false() -> None:
    truth, detect = one_class([[0, 0, 4, 4]])
    found = detect([[0, 0, 4, 4], [0, 0, 4, 4]])
    judged = judge(match_pairs(truth, found, threshold=0.5), truth, found, area=(0, 1e10))
    assert judged.positive.tolist() == [True, False]
    assert judged.false.tolist() == [False, True]


def test_displaced_detection_takes_its_second_choice() -> None:
    truth, detect = one_class([[0, 0, 10, 10], [1, 0, 10, 10]])
    found = detect([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    judged = judge(match_pairs(truth, found, threshold=0.5), truth, found, area=(0, 1e10))
    assert judged.positive.tolist() == [True, True, False]
    np.testing.assert_allclose(judged.overlap, [1.0, 90 / 110, 0.0])


def test_crowd_absorbs_any_number() -> None:
    truth, detect = one_class([[0, 0, 40, 40]], crowd=[True])
    found = detect([[0, 0, 4, 4], [8, 8, 4, 4], [60, 60, 4, 4]])
    judged = judge(match_pairs(truth, found, threshold=0.5), truth, found, area=(0, 1e10))
    assert judged.positive.tolist() == [False, False, False]
    assert judged.false.tolist() == [False, False, True]
    assert judged.num_objects.tolist() == [0]


def test_area_exactly_on_a_limit_counts_on_both_sides() -> None:
    truth, detect = one_class([[0, 0, 8, 8]])
    found = detect([[0, 0, 8, 8]])
    pairs = match_pairs(truth, found, threshold=0.5)
    for area in AREAS:
        assert judge(pairs, truth, found, area=area).positive.tolist() == [True]


def test_unmatched_detection_outside_the_range_does_not_count() -> None:
    truth, detect = one_class([[0, 0, 4, 4]])
    found = detect([[50, 50, 20, 20], [50, 50, 5, 5]])
    judged = judge(match_pairs(truth, found, threshold=0.5), truth, found, area=(0, 64))
    assert judged.false.tolist() == [False, True]


def test_ranked_keeps_file_order_of_ties_and_cuts_each_group() -> None:
    truth, _ = one_class([])
    found = DetectionTable.of(
        [
            {"image_id": 1, "category_id": 1, "bbox": [x, 0, 1, 1], "score": score}
            for x, score in enumerate([0.5, 0.9, 0.5, 0.9])
        ],
        truth,
    )
    ranked = Ranked.of(found, cap=3, num_classes=1)
    assert ranked.table.boxes_xywh[:, 0].tolist() == [1, 3, 0]
    assert ranked.rank.tolist() == [0, 1, 2]


def test_long_chain_of_displacements_ends() -> None:
    size = 200  # detection i may take object i or i + 1, and prefers i + 1
    detection = np.repeat(np.arange(size), 2)
    gt = np.stack([np.arange(size) + 1, np.arange(size)], axis=1).ravel()
    every = np.ones(2 * size, dtype=np.bool_)
    wishes = Wishes(detection, gt, np.tile([0.9, 0.8], size), exclusive=every, taking=every)
    row = match(wishes, num_detections=size, num_objects=size + 1)
    assert wishes.gt[row].tolist() == list(range(1, size + 1))


def test_taking_without_being_alone_keeps_others_out() -> None:
    # 0 shares object 0 and takes it; 1 wants it for itself and has to go on to object 1.
    wishes = Wishes(
        detection=np.array([0, 1, 1]),
        gt=np.array([0, 0, 1]),
        overlap=np.ones(3),
        exclusive=np.array([False, True, True]),
        taking=np.array([True, True, True]),
    )
    assert match(wishes, num_detections=2, num_objects=2).tolist() == [0, 2]
    later = Wishes(  # the other way round the better detection keeps it, and the other shares it
        detection=np.array([0, 1]),
        gt=np.array([0, 0]),
        overlap=np.ones(2),
        exclusive=np.array([True, False]),
        taking=np.array([True, True]),
    )
    assert match(later, num_detections=2, num_objects=1).tolist() == [0, 1]


def test_no_wishes_leave_all_alone() -> None:
    none = np.zeros(0, dtype=np.int64)
    wishes = Wishes(none, none, np.zeros(0), none.astype(np.bool_), none.astype(np.bool_))
    assert match(wishes, num_detections=2, num_objects=0).tolist() == [-1, -1]


def test_ignored_objects_absorb_any_number_after_all_others() -> None:
    truth, detect = one_class([[0, 0, 10, 10], [0, 0, 40, 40]])
    found = detect([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 5, 5], [38, 38, 4, 4]])
    ignored = np.array([False, True])
    excused = np.zeros(4, dtype=np.bool_)
    wishes = absorbing_wishes(find_overlaps(truth, found), ignored=ignored, thresholds=[0.5])
    judged = settle(next(wishes), truth, ignored=ignored, excused=excused)
    assert judged.positive.tolist() == [True, False, False, False]
    assert judged.false.tolist() == [False, False, False, True]  # a quarter of it is inside


def test_cap_over_all_classes_ranks_within_the_image() -> None:
    truth = GroundTruthTable.of(
        {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}, {"id": 2}], "annotations": []}
    )
    rows = [(1, 2, 0.9), (1, 1, 0.5), (2, 1, 0.1), (1, 1, 0.7), (1, 2, 0.5)]
    found = DetectionTable.of(
        [
            {"image_id": image, "category_id": k, "bbox": [x, 0, 1, 1], "score": score}
            for x, (image, k, score) in enumerate(rows)
        ],
        truth,
    )
    ranked = Ranked.over_classes(found, cap=3)
    assert ranked.table.boxes_xywh[:, 0].tolist() == [3, 1, 0, 2]
    assert ranked.rank.tolist() == [1, 2, 0, 0]
