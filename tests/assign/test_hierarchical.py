from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from dense_assigners import dense_assign
from motedet.assign import Hierarchical
from motedet.priors import ReceptiveFields
from motedet.structures import IGNORED, PackedTargets, Targets

GRID = ReceptiveFields(strides=(4, 8))([(32, 32), (16, 16)])


Boxes = Sequence[Sequence[float]]


def packed(*images: Boxes, ignore: Boxes = ()) -> PackedTargets:
    records = []
    for boxes in images:
        gt = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        labels = torch.zeros(len(gt), dtype=torch.int64)
        ignore_boxes = torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4)
        records.append(Targets(gt, labels, ignore_boxes, (128, 128), (128, 128)))
    return PackedTargets.pack(records)


def test_ties_are_taken_together() -> None:
    # centred between four points of stride 4: four equal values, so k = 3 takes four
    box: Boxes = [[34.0, 34, 46, 46]]
    assignment = Hierarchical()(GRID, packed(box))
    assert GRID.points()[assignment.positive[0]].tolist() == [
        [38, 38],
        [42, 38],
        [38, 42],
        [42, 42],
    ]
    quality = assignment.quality[assignment.positive]
    assert (quality == quality[0]).all()


def test_last_object_wins() -> None:
    box = [34.0, 34, 46, 46]
    gt_index = Hierarchical()(GRID, packed([box, box])).gt_index
    assert set(gt_index.flatten().tolist()) == {-1, 1}


def test_similar_priors_that_nobody_takes_are_ignored() -> None:
    field: Boxes = [
        [38.0 - 8, 38 - 8, 38 + 8, 38 + 8]
    ]  # about as large as the shrunk field, 15.75 px
    gt_index = Hierarchical(topk=(1, 1))(GRID, packed(field)).gt_index
    assert (gt_index == IGNORED).any()
    assert not (Hierarchical(topk=(1, 1), min_similarity=2)(GRID, packed(field)).ignored).any()


@pytest.mark.parametrize("similarity", ["kl", "exp_kl", "iou", "giou"])
def test_objects_without_area(similarity: str) -> None:
    boxes: Boxes = [[30.0, 30, 30, 30], [64, 10, 64, 40], [10, 64, 50, 64]]
    rule = Hierarchical(similarity=similarity)  # type: ignore[arg-type]
    targets = packed(boxes, [], boxes[:1])
    assert torch.equal(rule(GRID, targets).gt_index, dense_assign(rule, GRID, targets))


def test_only_inside_drops_points_outside() -> None:
    targets = packed([[37.0, 37, 43, 39.5]])
    plain, inside = (Hierarchical(inside=flag)(GRID, targets) for flag in (False, True))
    assert plain.positive.sum() > inside.positive.sum() > 0
    center = GRID.points()[inside.positive[0]]
    assert ((center > 37) & (center < torch.tensor([43.0, 39.5]))).all()
    assert (inside.quality[~inside.positive] == 0).all()


def test_excluded_priors_are_ignored_and_replaced() -> None:
    targets = packed([[34.0, 34, 46, 46]], ignore=[[0.0, 0, 40, 128]])
    assignment = Hierarchical(ignore_iof=0.5)(GRID, targets)
    assert (GRID.points()[assignment.positive[0]][:, 0] > 38).all()
    assert assignment.positive.sum() >= 3
    under = (GRID.points() == torch.tensor([18.0, 58.0])).all(1)
    assert assignment.gt_index[0, under] == IGNORED


def test_published_ignore_rule_gives_everything_to_an_object_without_choice() -> None:
    everywhere = [
        [x, y, x + 45.5, y + 45.5] for x in range(-60, 140, 6) for y in range(-60, 140, 6)
    ]
    targets = packed([[34.0, 34, 46, 46]], ignore=everywhere)
    rule = Hierarchical(ignore_iof=0.01, ignore_rule="published")
    assert (rule(GRID, targets).gt_index == 0).all()
    assert (replace(rule, ignore_rule="exclude")(GRID, targets).gt_index == IGNORED).all()


def test_shared_priors_shrink_from_image_to_image() -> None:
    box: Boxes = [[30.0, 31, 41, 43], [70, 71, 110, 90]]
    targets = packed(box, [], box, box)
    rule = Hierarchical(shared_priors=True)
    assignment = rule(GRID, targets)
    assert torch.equal(assignment.gt_index, dense_assign(rule, GRID, targets))
    # the second image with objects finds priors of 0.9 of the side, the empty one shrinks nothing
    first, third, last = (assignment.quality[i].max() for i in (0, 2, 3))
    assert len({float(first), float(third), float(last)}) == 3
    fresh = Hierarchical()(GRID, targets)
    assert fresh.quality[0].max() == fresh.quality[3].max()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"topk": (0, 1)}, "topk must be at least 1"),
        ({"ratio": 0.0}, "ratio must be positive; got 0.0"),
        ({"nwd_constant": -1.0}, "nwd_constant must be positive"),
        ({"ignore_iof": 0.0}, "ignore_iof must be positive or None"),
    ],
    ids=str,
)
def test_wrong_numbers(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Hierarchical(**wrong)  # type: ignore[arg-type]


def test_more_wanted_than_there_is() -> None:
    small = ReceptiveFields(strides=(4,))([(1, 2)])
    with pytest.raises(ValueError, match=r"topk \(3, 1\) is more than the 2 priors"):
        Hierarchical()(small, packed([[0.0, 0, 4, 4]]))
    assert Hierarchical()(small, packed([])).gt_index.tolist() == [[-1, -1]]
