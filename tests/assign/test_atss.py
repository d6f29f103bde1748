from collections.abc import Sequence

import pytest
import torch

from motedet.assign import ATSS
from motedet.priors import Anchors
from motedet.structures import IGNORED, PackedTargets, Targets

GRID = Anchors(strides=(8,), ratios=(1.0,), scales=(2.0,))([(20, 20)])


Boxes = Sequence[Sequence[float]]


def packed(boxes: Boxes, ignore: Boxes = ()) -> PackedTargets:
    gt = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(gt), dtype=torch.int64)
    ignore_boxes = torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4)
    return PackedTargets.pack([Targets(gt, labels, ignore_boxes, (160, 160), (160, 160))])


def test_outstanding_candidate_by_hand() -> None:
    # The anchor of cell (5, 5) is the object itself; its neighbours overlap it less.
    assignment = ATSS(topk=9)(GRID, packed([[32.0, 32, 48, 48]]))
    assert assignment.positive[0].nonzero()[:, 0].tolist() == [5 * 20 + 5]
    assert assignment.quality[0, 105] == 1


def test_single_candidate_has_no_threshold() -> None:
    one = Anchors(strides=(8,), ratios=(1.0,), scales=(2.0,))([(1, 1)])
    assert not ATSS()(one, packed([[-8.0, -8, 8, 8]])).positive.any()


def test_larger_overlap_wins_then_the_first() -> None:
    boxes: Boxes = [[30.0, 30, 50, 50], [32, 32, 48, 48], [32, 32, 48, 48]]
    assert ATSS()(GRID, packed(boxes)).gt_index[0, 105] == 1


@pytest.mark.parametrize("x", [-500.0, 20.0, 900.0])
@pytest.mark.parametrize("topk", [1, 9, 30, 1000])
def test_candidates_of_any_number_for_objects_anywhere(topk: int, x: float) -> None:
    targets = packed([[x, 60, x + 16, 76]])
    found = ATSS(topk=topk)._candidates(GRID, targets, None)[:, 0]
    center = torch.tensor([x + 8, 68])
    away = (GRID.centers() - center).square().sum(1).sqrt()
    want = away.argsort(stable=True)[:topk]
    assert torch.equal(found, want)


def test_covered_priors_are_ignored_and_the_last_choice() -> None:
    targets = packed([[32.0, 32, 48, 48]], [[0.0, 0, 160, 160]])
    assignment = ATSS(ignore_iof=0.5)(GRID, targets)
    # all anchors but those across the border are covered, so the object's own is no candidate
    assert assignment.gt_index[0, 105] == IGNORED
    assert ATSS()(GRID, targets).gt_index[0, 105] == 0


@pytest.mark.parametrize("wrong", [{"topk": 0}, {"ignore_iof": -1.0}], ids=str)
def test_wrong_numbers(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        ATSS(**wrong)  # type: ignore[arg-type]
