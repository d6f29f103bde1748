import pytest
import torch

from motedet.assign import TaskAligned
from motedet.assign.tal import normalised
from motedet.priors import Points
from motedet.structures import Assignment, PackedTargets, Predictions, Targets

GRID = Points(strides=(8,))([(8, 8)])  # points at 4, 12, ... 60
BOX = [8.0, 8, 24, 24]  # the points of priors 9, 10, 17, 18 are inside


def assign(
    rule: TaskAligned, gt: list[list[float]], seen: dict[int, tuple[list[float], float]]
) -> Assignment:
    """Objects of class 0, and (box, score) at a few priors; nothing elsewhere."""
    boxes = torch.full((1, GRID.num_priors, 4), 900.0)
    scores = torch.full((1, GRID.num_priors, 1), 0.5)
    for prior, (box, score) in seen.items():
        boxes[0, prior], scores[0, prior] = torch.tensor(box), score
    table = torch.tensor(gt, dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(table), dtype=torch.int64)
    targets = PackedTargets.pack([Targets.of(table, labels, (64, 64))])
    return rule(GRID, targets, Predictions(scores, scores.logit(), boxes))


def priors_of(assignment: Assignment) -> list[int]:
    found: list[int] = assignment.positive[0].nonzero()[:, 0].tolist()
    return found


def test_no_objects() -> None:
    assert priors_of(assign(TaskAligned(), [], {9: (BOX, 0.5)})) == []


def test_only_priors_inside_with_any_alignment() -> None:
    seen = {9: (BOX, 0.5), 10: (BOX, 0.0), 17: ([30.0, 30, 40, 40], 0.5), 27: (BOX, 0.9)}
    assert priors_of(assign(TaskAligned(), [BOX], seen)) == [9]


def test_priors_outside_use_up_places() -> None:
    seen = {9: (BOX, 0.5), 27: (BOX, 0.9)}
    assert priors_of(assign(TaskAligned(topk=1), [BOX], seen)) == []
    assert priors_of(assign(TaskAligned(topk=2), [BOX], seen)) == [9]


def test_of_equals_the_first_is_taken() -> None:
    seen = dict.fromkeys((18, 17, 10, 9), (BOX, 0.5))
    assert priors_of(assign(TaskAligned(topk=3), [BOX], seen)) == [9, 10, 17]


def test_a_shared_prior_goes_to_the_larger_overlap() -> None:
    smaller = [8.0, 8, 24, 20]
    shared = assign(TaskAligned(), [BOX, smaller, smaller], {9: (smaller, 0.5)})
    assert shared.gt_index[0, 9] == 1


def test_quality_is_the_normalised_alignment() -> None:
    half = [8.0, 8, 24, 16]  # IoU 1 / 2
    quality = assign(TaskAligned(beta=1.0), [BOX], {9: (BOX, 0.5), 10: (half, 0.25)}).quality[0]
    assert quality[9] == pytest.approx(1.0, abs=1e-6)
    assert quality[10] == pytest.approx(0.25, abs=1e-6)


def test_alignment_by_hand() -> None:
    rule = TaskAligned(alpha=0.5, beta=2.0)
    assert rule.alignment(torch.tensor([0.25]), torch.tensor([0.5])).tolist() == [0.125]


def test_normalised_by_hand() -> None:
    nothing = torch.zeros(0)
    assert normalised(nothing, nothing, nothing.long(), 3).shape == (0,)
    got = normalised(
        torch.tensor([0.2, 0.1, 0.5]), torch.tensor([0.6, 0.8, 0.3]), torch.tensor([0, 0, 2]), 3
    )
    torch.testing.assert_close(got, torch.tensor([0.8, 0.4, 0.3]), atol=1e-6, rtol=0)


def test_wrong_numbers() -> None:
    with pytest.raises(ValueError, match="topk must be at least 1; got 0"):
        TaskAligned(topk=0)
    with pytest.raises(ValueError, match=r"beta must be positive; got 1.0 and 0.0"):
        TaskAligned(beta=0.0)
