import pytest
import torch

from motedet.assign import FCOSAssigner
from motedet.priors import Points
from motedet.structures import PackedTargets, Targets

GRID = Points(strides=(8, 16))([(8, 8), (4, 4)])
RULE = FCOSAssigner(regress_ranges=((-1.0, 16.0), (16.0, 1e8)))


def packed(*boxes: list[float]) -> PackedTargets:
    gt = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(gt), dtype=torch.int64)
    return PackedTargets.pack([Targets.of(gt, labels, (64, 64))])


def points_of(rule: FCOSAssigner, *boxes: list[float]) -> list[list[float]]:
    assignment = rule(GRID, packed(*boxes))
    points: list[list[float]] = GRID.points()[assignment.positive[0]].tolist()
    return points


def test_points_inside_by_hand() -> None:
    assert points_of(RULE, [2, 2, 14, 6]) == [[4, 4], [12, 4]]


def test_points_on_the_edge_are_outside() -> None:
    assert points_of(RULE, [4, 4, 12, 12]) == []


def test_both_ends_of_a_range_count() -> None:
    # the farthest side of point (20, 20) is exactly 16 px away at stride 8; (24, 24) of stride 16
    # is 16 px away from the farthest side of the second object
    assert [20, 20] in points_of(RULE, [10, 10, 36, 36])
    assert [24, 24] in points_of(RULE, [14, 14, 40, 40])


def test_center_sampling_shrinks_the_region() -> None:
    rule = FCOSAssigner(regress_ranges=((-1.0, 1e8), (1e8, 1e9)), center_radius=1.0)
    assert points_of(rule, [0, 0, 40, 40]) == [[20, 20]]


def test_smallest_then_first_object_wins() -> None:
    assignment = RULE(GRID, packed([2, 2, 14, 14], [3, 3, 12, 12], [3, 3, 12, 12]))
    assert assignment.gt_index[0, 0] == 1
    assert assignment.quality[0, 0] == pytest.approx(1 / 81)


def test_an_object_of_ten_thousand_squared_is_never_matched() -> None:
    assert points_of(RULE, [-5000, -5000, 5000, 5000]) == []


def test_wrong_ranges() -> None:
    with pytest.raises(ValueError, match="regress_ranges must be"):
        FCOSAssigner(regress_ranges=((8.0, 1.0),))
    with pytest.raises(ValueError, match="center_radius must be positive or None; got 0"):
        FCOSAssigner(center_radius=0.0)
    with pytest.raises(ValueError, match="5 regress_ranges do not fit 2 levels"):
        FCOSAssigner()(GRID, packed([2, 2, 14, 14]))
