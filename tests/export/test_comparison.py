"""What counts as the same, and what as a close decision."""

from dataclasses import replace

import pytest
import torch

from motedet.export.comparison import compare_detections
from motedet.geometry import SoftNMS
from motedet.models.postprocess import Suppression
from motedet.structures import Detections
from small_detectors import small_specs


def test_detections_pair_and_close_decisions_are_told_from_others() -> None:
    rule = small_specs()["fcos"].postprocess
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    one = Detections(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 1]))
    other = Detections(boxes.flip(0) + 0.01, torch.tensor([0.8001, 0.9]), torch.tensor([1, 0]))
    same = compare_detections(one, other, rule)
    assert (same.detections, same.tied, same.missing) == (2, 0, 0)
    assert same.box == pytest.approx(0.01, abs=1e-4)
    less = compare_detections(one, other[torch.tensor([0])], rule)
    assert (less.detections, less.missing) == (1, 1)
    weak = Detections(boxes[:1], torch.tensor([0.0505]), torch.tensor([0]))
    empty = Detections.empty()
    assert compare_detections(weak, empty, rule).tied == 1
    assert compare_detections(empty, empty, rule).detections == 0


def test_equal_detections_pair_one_by_one() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(3, 1)
    apart = torch.tensor([[40.0, 40, 50, 50]])
    scores, labels = torch.tensor([0.9, 0.9, 0.9, 0.5]), torch.zeros(4, dtype=torch.int64)
    found = Detections(torch.cat((boxes, apart)), scores, labels)
    moved = Detections(torch.cat((boxes, apart + 0.01)), scores, labels)
    same = compare_detections(found, moved, SOFT)
    assert (same.detections, same.tied, same.missing) == (4, 0, 0)


SOFT = Suppression(score_thresh=0.05, soft=SoftNMS())
HALVES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])  # IoU 0.5, the threshold


def two(*scores: float, labels: tuple[int, int] = (0, 0)) -> Detections:
    """The halves with their scores."""
    return Detections(HALVES, torch.tensor(scores), torch.tensor(labels))


def test_a_score_lowered_on_one_side_alone_is_a_close_decision_at_the_threshold() -> None:
    found = compare_detections(two(0.9, 0.8), two(0.9, 0.4), SOFT)
    assert (found.detections, found.tied, found.missing) == (1, 1, 0)
    assert found.score == 0
    labels = (0, 1)
    other = compare_detections(two(0.9, 0.8, labels=labels), two(0.9, 0.4, labels=labels), SOFT)
    assert other.score == pytest.approx(0.4)
    hard = compare_detections(two(0.9, 0.8), two(0.9, 0.4), replace(SOFT, soft=None))
    assert hard.score == pytest.approx(0.4)
    gaussian = replace(SOFT, soft=SoftNMS(method="gaussian"))
    assert compare_detections(two(0.9, 0.8), two(0.9, 0.4), gaussian).score == pytest.approx(0.4)


def test_a_low_score_counts_as_close_as_it_was_before_soft_nms() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9.6]])  # IoU 0.96
    found = Detections(boxes, torch.tensor([0.9, 0.03]), torch.zeros(2, dtype=torch.int64))
    one = found[torch.tensor([0])]
    assert compare_detections(found, one, SOFT).missing == 1  # its score was 0.75
    close = Detections(boxes, torch.tensor([0.9, 0.002]), found.labels)
    assert compare_detections(close, one, SOFT).tied == 1  # its score was 0.05


def test_neighbours_at_the_limit_of_detections_are_close_decisions() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [40, 40, 50, 50], [42, 42, 52, 52]])
    scores, labels = torch.tensor([0.9, 0.5, 0.5]), torch.zeros(3, dtype=torch.int64)
    every = Detections(boxes, scores, labels)
    one, other = every[torch.tensor([0, 1])], every[torch.tensor([0, 2])]
    limited = compare_detections(one, other, replace(SOFT, max_per_image=2))
    assert (limited.detections, limited.tied, limited.box) == (1, 1, 0)
    assert compare_detections(one, other, SOFT).box == 2


@pytest.mark.parametrize("soft", [None, SoftNMS(), SoftNMS(method="gaussian")])
def test_which_of_two_equal_scores_wins_is_a_close_decision(soft: SoftNMS | None) -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    scores, labels = torch.tensor([0.9, 0.3]), torch.zeros(2, dtype=torch.int64)
    rule = replace(SOFT, soft=soft)
    count = 1 if soft is None else 2
    one = Detections(boxes[:count], scores[:count], labels[:count])
    other = Detections(boxes.flip(0)[:count], scores[:count], labels[:count])
    assert compare_detections(one, other, rule).tied == count
    assert compare_detections(one, other, rule).detections == 0
    clear = Detections(other.boxes, torch.tensor([0.8, 0.3])[:count], other.labels)
    found = compare_detections(one, clear, rule)
    assert max(found.box, found.score) > 0.09
