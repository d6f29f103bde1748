import math

import pytest
import torch
from torch import Tensor

from motedet.assign import SimOTA
from motedet.errors import ShapeError
from motedet.priors import Points, PriorGrid
from motedet.structures import IGNORED, PackedTargets, Predictions, Targets

GRID = Points(strides=(8,))([(8, 8)])  # points at 4, 12, ... 60


def packed(*boxes: list[float], labels: list[int] | None = None) -> PackedTargets:
    gt = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    classes = torch.tensor([0] * len(gt) if labels is None else labels)
    return PackedTargets.pack([Targets.of(gt, classes.long(), (64, 64))])


def predicted(
    boxes: dict[int, list[float]], scores: Tensor | None = None, grid: PriorGrid = GRID
) -> Predictions:
    """Boxes at a few priors, none elsewhere; all scores 0.5 unless given as [P, K]."""
    table = torch.full((1, grid.num_priors, 4), 900.0)
    for prior, box in boxes.items():
        table[0, prior] = torch.tensor(box)
    if scores is None:
        scores = torch.full((grid.num_priors, 2), 0.5)
    return Predictions(scores[None], scores[None].logit(), table)


def taken(rule: SimOTA, targets: PackedTargets, predictions: Predictions) -> dict[int, int]:
    gt_index = rule(GRID, targets, predictions).gt_index[0]
    return {int(p): int(gt_index[p]) for p in (gt_index >= 0).nonzero()[:, 0]}


def test_no_objects() -> None:
    assignment = SimOTA()(GRID, packed(), predicted({}))
    assert (assignment.gt_index == -1).all()
    assert (assignment.quality == 0).all()


def test_takes_as_many_as_the_overlaps_add_up_to() -> None:
    box: list[float] = [8, 8, 24, 24]  # the points of priors 9, 10, 17, 18 are inside
    one = taken(SimOTA(), packed(box), predicted({9: box}))
    assert one == {9: 0}
    three = predicted({9: box, 10: [8, 8, 24, 23], 17: box, 18: [8, 8, 24, 16]})  # IoU sum 3.4
    assert taken(SimOTA(), packed(box), three) == {9: 0, 10: 0, 17: 0}
    assert taken(SimOTA(topk=1), packed(box), three) == {9: 0}


def test_quality_is_the_overlap() -> None:
    assignment = SimOTA()(GRID, packed([8, 8, 24, 24]), predicted({18: [8, 8, 24, 16]}))
    assert assignment.quality[0, 18] == 0.5


def test_an_object_around_no_point_gets_one() -> None:
    found = taken(SimOTA(), packed([6, 6, 7, 7]), predicted({}))
    assert found == {0: 0}  # all valid priors cost the same: the first


def test_without_overlap_the_best_score_wins() -> None:
    scores = torch.full((64, 2), 0.5)
    scores[10, 1] = 0.75
    found = taken(SimOTA(), packed([6, 6, 7, 7], labels=[1]), predicted({}, scores))
    assert found == {10: 0}


def test_a_prior_of_two_objects_goes_to_the_cheaper_one() -> None:
    boxes: tuple[list[float], list[float]] = ([8, 8, 24, 24], [8, 8, 24, 20])
    targets = packed(*boxes)
    assert taken(SimOTA(), targets, predicted({9: boxes[1]})) == {9: 1}
    assert taken(SimOTA(), packed(boxes[0], boxes[0]), predicted({9: boxes[0]})) == {9: 0}


def test_a_prior_of_two_objects_may_go_to_a_third() -> None:
    # both small objects, far from their predictions, choose by score what suits the third better
    scores = torch.full((64, 3), 0.5)
    scores[9] = torch.tensor([0.9, 0.9, 0.9999])
    targets = packed([2, 14, 3, 15], [14, 2, 15, 3], [0, 0, 64, 64], labels=[0, 1, 2])
    assert taken(SimOTA(), targets, predicted({9: [0, 0, 64, 63]}, scores))[9] == 2


def test_a_score_of_zero_costs_a_hundred() -> None:
    scores = torch.zeros(64, 2)
    scores[10, 0] = math.exp(-99)
    box: list[float] = [8, 8, 24, 24]
    assert taken(SimOTA(), packed(box), predicted({}, scores)) == {10: 0}


def test_predictions_that_are_not_numbers_are_the_dearest() -> None:
    scores = torch.full((64, 2), 0.5)
    scores[9] = math.nan
    box: list[float] = [8, 8, 24, 24]
    assert taken(SimOTA(), packed(box), predicted({9: box}, scores)) == {10: 0}


def test_priors_that_take_no_part_are_ignored() -> None:
    targets = PackedTargets.pack(
        [
            Targets(
                torch.tensor([[6.0, 6, 30, 30]]),
                torch.zeros(1, dtype=torch.int64),
                torch.zeros(0, 4),
                (16, 16),
                (16, 16),
            )
        ],
        limit_to_padding=True,
    )
    gt_index = SimOTA()(GRID, targets, predicted({18: [6, 6, 30, 30]})).gt_index[0]
    assert gt_index[18] == IGNORED
    assert (gt_index >= 0).nonzero()[:, 0].tolist() == [9]


def test_wrong_numbers() -> None:
    with pytest.raises(ValueError, match="topk must be at least 1; got 0"):
        SimOTA(topk=0)
    with pytest.raises(ValueError, match="radius must be positive; got 0"):
        SimOTA(radius=0)
    with pytest.raises(ValueError, match=r"must not be negative; got -1.0 and 1.0"):
        SimOTA(iou_weight=-1.0)
    with pytest.raises(ShapeError, match=r"for 1 images and 64 priors; got boxes \[1, 16, 4\]"):
        SimOTA()(GRID, packed(), predicted({}, grid=Points(strides=(16,))([(4, 4)])))
