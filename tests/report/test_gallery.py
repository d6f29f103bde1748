import pytest
import torch

from motedet.errors import ShapeError
from motedet.report.gallery import (
    ImageQuality,
    best_and_worst,
    best_score_thresh,
    per_image_quality,
)
from motedet.structures import Detections, Targets

BOXES = torch.tensor([[0.0, 0, 4, 4], [10, 10, 14, 14], [20, 20, 24, 24]])
LABELS = torch.zeros(3, dtype=torch.int64)


def truth(count: int) -> Targets:
    return Targets.of(BOXES[:count], LABELS[:count], (32, 32))


def detections(rows: list[int], scores: list[float]) -> Detections:
    return Detections(BOXES[rows], torch.tensor(scores), LABELS[: len(rows)])


def test_nothing_to_find_and_nothing_found_is_perfect() -> None:
    quality = per_image_quality(Detections.empty(), truth(0))
    assert quality == ImageQuality(found=0, false=0, missed=0, mean_iou=0.0)
    assert quality.f1 == 1.0


def test_counts_by_hand() -> None:
    quality = per_image_quality(detections([0, 2], [0.9, 0.8]), truth(2))
    assert quality == ImageQuality(found=1, false=1, missed=1, mean_iou=1.0)
    assert quality.f1 == 0.5
    assert quality.summary == "F1 0.50: 1 found, 1 false, 1 missed"


def test_low_scores_are_left_out_and_order_does_not_matter() -> None:
    found = detections([2, 0], [0.1, 0.9])
    assert per_image_quality(found, truth(1), score_thresh=0.3).false == 0
    assert per_image_quality(found, truth(1), score_thresh=0.1).false == 1


def test_detections_in_ignore_regions_do_not_count() -> None:
    regions = Targets(BOXES[:1], LABELS[:1], torch.tensor([[18.0, 18, 30, 30]]), (32, 32), (32, 32))
    quality = per_image_quality(detections([0, 2, 1], [0.9, 0.8, 0.7]), regions)
    assert (quality.found, quality.false) == (1, 1)


def test_best_threshold_keeps_hits_and_drops_the_rest() -> None:
    found = [detections([0, 1], [0.9, 0.6]), detections([2, 0], [0.5, 0.7])]
    truths = [truth(2), truth(1)]
    assert best_score_thresh(found, truths) == pytest.approx(0.6)


def test_equal_scores_are_kept_or_dropped_together() -> None:
    found = [detections([0, 1, 2], [0.5, 0.5, 0.5])]
    assert best_score_thresh(found, [truth(1)]) == pytest.approx(0.5)


@pytest.mark.parametrize("images", [0, 2])
def test_best_threshold_without_a_hit(images: int) -> None:
    assert best_score_thresh([Detections.empty()] * images, [truth(1)] * images) == 0.5


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ShapeError, match="got 1, 0"):
        best_score_thresh([Detections.empty()], [])


def test_best_and_worst_share_no_image() -> None:
    qualities = [
        ImageQuality(found=1, false=0, missed=0, mean_iou=0.9),
        ImageQuality(found=9, false=0, missed=0, mean_iou=0.6),
        ImageQuality(found=0, false=0, missed=3, mean_iou=0.0),
        ImageQuality(found=0, false=1, missed=8, mean_iou=0.0),
        ImageQuality(found=1, false=1, missed=0, mean_iou=0.7),
        ImageQuality(found=0, false=0, missed=0, mean_iou=0.0),
    ]
    best, worst = best_and_worst(qualities, count=2)
    assert best == [1, 0]
    assert worst == [3, 2]
    best, worst = best_and_worst(qualities, count=10)
    assert not set(best) & set(worst)


@pytest.mark.parametrize("mistakes", [0, 1])
def test_one_image_and_none(mistakes: int) -> None:
    assert best_and_worst([]) == ([], [])
    one = ImageQuality(found=0, false=mistakes, missed=0, mean_iou=0.0)
    assert best_and_worst([one]) == ([], [0] if mistakes else [])
