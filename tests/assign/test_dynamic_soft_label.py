import pytest
import torch

from motedet.assign import DynamicSoftLabel
from motedet.priors import Points, PriorGrid
from motedet.structures import PackedTargets, Predictions, Targets

GRID = Points(strides=(8,), offset=0.0)([(8, 8)])  # points at 0, 8, ... 56
BOX = [4.0, 4, 20, 20]  # the points of priors 9, 10, 17, 18 are inside


def taken(
    gt: list[list[float]],
    seen: dict[int, list[float]],
    logits: dict[int, float] | None = None,
    grid: PriorGrid = GRID,
) -> dict[int, int]:
    """Objects of class 0; boxes at a few priors, none elsewhere; logits 0 unless given."""
    boxes, table = torch.full((1, grid.num_priors, 4), 9e4), torch.zeros(1, grid.num_priors, 1)
    for prior, box in seen.items():
        boxes[0, prior] = torch.tensor(box)
    for prior, logit in (logits or {}).items():
        table[0, prior] = logit
    objects = torch.tensor(gt, dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(objects), dtype=torch.int64)
    targets = PackedTargets.pack([Targets.of(objects, labels, (64, 64))])
    gt_index = DynamicSoftLabel()(
        grid, targets, Predictions(table.sigmoid(), table, boxes)
    ).gt_index[0]
    return {int(p): int(gt_index[p]) for p in (gt_index >= 0).nonzero()[:, 0]}


def test_no_objects() -> None:
    assert taken([], {9: BOX}) == {}


def test_takes_as_many_as_the_overlaps_add_up_to() -> None:
    assert taken([BOX], {9: BOX, 18: BOX}) == {9: 0, 18: 0}
    assert taken([BOX], {9: BOX, 27: BOX}) == {9: 0}  # the point of 27 is outside


def test_a_logit_that_suits_the_overlap_is_cheaper() -> None:
    assert taken([BOX], {9: BOX, 18: BOX, 10: BOX}, {9: -3.0})[18] == 0
    half = {9: [4.0, 4, 20, 12], 18: [4.0, 4, 20, 12]}  # IoU 1 / 2: logit 0 is the better answer
    assert taken([BOX], half, {9: 5.0}) in ({18: 0}, {10: 0})


def test_without_overlap_the_nearest_wins() -> None:
    assert taken([[4.0, 4, 27, 27]], {}) == {18: 0}


def test_an_object_around_no_point_gets_one_of_another() -> None:
    assert taken([[2.0, 2, 3, 3]], {}) == {}
    found = taken([[2.0, 2, 3, 3], BOX], {18: BOX})
    assert found == {9: 0, 18: 1}


def test_where_all_costs_are_infinite_the_first_prior_is_taken() -> None:
    grid = Points(strides=(1,), offset=0.0)([(4, 120)])
    far = [[118.2, 1.2, 118.8, 1.8], [0.5, 0.5, 3.5, 2.5]]
    found = taken(far, {}, grid=grid)
    assert found[121] == 0  # the first point inside of the other object
    assert set(found.values()) == {0, 1}


def test_wrong_numbers() -> None:
    with pytest.raises(ValueError, match="topk must be at least 1; got 0"):
        DynamicSoftLabel(topk=0)
    with pytest.raises(ValueError, match=r"must not be negative; got -1 and 3.0"):
        DynamicSoftLabel(radius=-1)
