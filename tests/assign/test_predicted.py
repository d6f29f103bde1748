import pytest
import torch

from motedet.assign.predicted import PredictedBatch
from motedet.errors import ShapeError
from motedet.priors import Points
from motedet.structures import PackedTargets, Pairs, Predictions, Targets

GRID = Points(strides=(8,))([(1, 3)])


def batch() -> PredictedBatch:
    one = Targets.of(torch.tensor([[0.0, 0, 8, 8]]), torch.tensor([0]), (8, 24))
    two = Targets.of(torch.tensor([[0.0, 0, 8, 4], [8, 0, 16, 8]]), torch.tensor([0, 0]), (8, 24))
    boxes = torch.tensor([[0.0, 0, 8, 8], [4, 0, 12, 8], [90, 90, 91, 91]])
    scores = torch.zeros(2, 3, 1)
    seen = Predictions(scores, scores, boxes.expand(2, 3, 4))
    return PredictedBatch.of(GRID, PackedTargets.pack([one, two]), seen)


def test_slots_and_overlaps() -> None:
    pairs = Pairs(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2]))
    made = batch()
    assert made.num_slots == 6
    assert made.slot(pairs).tolist() == [0, 3, 4]
    torch.testing.assert_close(made.iou(pairs), torch.tensor([1.0, 0.5, 1 / 3]))


def test_meeting_stays_within_an_image() -> None:
    made = batch()
    (pairs,) = made.meeting(torch.arange(6))
    found = sorted(zip(made.slot(pairs).tolist(), pairs.gt.tolist(), strict=True))
    assert found == [(0, 0), (1, 0), (3, 1), (4, 1), (4, 2)]
    (few,) = made.meeting(torch.tensor([4]))
    assert few.gt.tolist() == [1, 2]


def test_all_priors_take_part_unless_something_is_said() -> None:
    assert batch().usable().all()
    assert batch().usable().shape == (6,)


def test_wrong_number_of_predictions() -> None:
    scores = torch.zeros(1, 2, 1)
    seen = Predictions(scores, scores, torch.zeros(1, 2, 4))
    with pytest.raises(ShapeError, match=r"1 images and 3 priors; got boxes \[1, 2, 4\]"):
        PredictedBatch.of(GRID, PackedTargets.pack([_empty()]), seen)


def test_predictions_that_do_not_fit_together() -> None:
    scores = torch.zeros(1, 2, 3)
    with pytest.raises(ShapeError, match=r"got \[1, 2, 3\], \[1, 2, 3\] and \[1, 3, 4\]"):
        Predictions(scores, scores, torch.zeros(1, 3, 4))
    with pytest.raises(ShapeError, match=r"got \[1, 2, 3\], \[2, 3\] and \[1, 2, 4\]"):
        Predictions(scores, scores[0], torch.zeros(1, 2, 4))


def _empty() -> Targets:
    return Targets.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (8, 24))
