"""Suppression."""

import importlib
import math
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motedet.errors import ShapeError
from motedet.geometry import (
    SoftNMS,
    aligned_iou,
    class_aware_nms,
    multiclass_nms,
    nms,
    pairwise_iou,
    pairwise_similarity,
    similarity_nms,
    soft_nms,
)

HALF = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.0]])  # IoU exactly 0.5


def draw(seed: int, count: int, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, some of them partly outside, their scores, many of them equal, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, 4, generator=generator)
    top_left = uniform[:, :2] * 30 - 10
    boxes = torch.cat((top_left, top_left + 4 + uniform[:, 2:] * 12), dim=1)
    scores = torch.randint(1, 20, (count,), generator=generator) / 20
    return boxes, scores, torch.randint(num_classes, (count,), generator=generator)


def greedy(boxes: Tensor, scores: Tensor, labels: Tensor, iou_thresh: float) -> list[int]:
    """The definition, word by word."""
    kept: list[int] = []
    iou = pairwise_iou(boxes, boxes).tolist()
    for i in scores.argsort(descending=True, stable=True).tolist():
        if all(iou[i][j] <= iou_thresh or labels[i] != labels[j] for j in kept):
            kept.append(i)
    return kept


def test_suppression_is_strict() -> None:
    scores = torch.tensor([0.9, 0.8])
    assert nms(HALF, scores, 0.5).tolist() == [0, 1]
    assert nms(HALF, scores, 0.49).tolist() == [0]


def test_best_first_and_lower_index_among_equals() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]]).repeat(3, 1) + torch.tensor([[0.0], [0.0], [9.0]])
    assert nms(boxes, torch.tensor([0.5, 0.5, 0.9]), 0.5).tolist() == [2, 0]


def test_boxes_without_area_never_suppress() -> None:
    assert nms(torch.ones(3, 4), torch.tensor([0.1, 0.2, 0.3]), 0.5).tolist() == [2, 1, 0]


@pytest.mark.parametrize("offset_trick", [True, False], ids=["offset", "per-class"])
def test_empty(offset_trick: bool) -> None:
    boxes, scores = torch.zeros(0, 4), torch.zeros(0)
    labels = torch.zeros(0, dtype=torch.int64)
    assert nms(boxes, scores, 0.5).tolist() == []
    keep = class_aware_nms(boxes, scores, labels, iou_thresh=0.5, offset_trick=offset_trick)
    assert keep.dtype == torch.int64
    assert keep.tolist() == []
    found, index = multiclass_nms(boxes, torch.zeros(0, 3), score_thresh=0.1, iou_thresh=0.5)
    assert (len(found), len(index)) == (0, 0)


def test_nothing_above_the_score_threshold() -> None:
    labels = torch.zeros(2, dtype=torch.int64)
    scores = torch.tensor([0.2, 0.1])
    assert class_aware_nms(HALF, scores, labels, iou_thresh=0.5, score_thresh=0.2).tolist() == []


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match="boxes must be a float tensor"):
        nms(torch.zeros(2, 5), torch.zeros(2), 0.5)


@given(seed=st.integers(0, 2**31), split_above=st.sampled_from([10, 10000]))
@settings(deadline=None, max_examples=25)
def test_per_class_follows_the_definition(seed: int, split_above: int) -> None:
    boxes, scores, labels = draw(seed, 40, 3)
    keep = class_aware_nms(
        boxes, scores, labels, iou_thresh=0.4, split_above=split_above, offset_trick=False
    )
    assert keep.tolist() == greedy(boxes, scores, labels, 0.4)


@given(seed=st.integers(0, 2**31), split_above=st.sampled_from([10, 10000]))
@settings(deadline=None, max_examples=25)
def test_offset_agrees_where_coordinates_are_not_negative(seed: int, split_above: int) -> None:
    boxes, scores, labels = draw(seed, 40, 3)
    boxes = ((boxes + 10) * 4).round() / 4  # exact in float32, so that the offset costs nothing
    keep = class_aware_nms(boxes, scores, labels, iou_thresh=0.4, split_above=split_above)
    assert keep.tolist() == greedy(boxes, scores, labels, 0.4)


@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=25)
def test_class_agnostic_ignores_labels(seed: int) -> None:
    boxes, scores, labels = draw(seed, 40, 3)
    keep = class_aware_nms(boxes, scores, labels, iou_thresh=0.4, class_agnostic=True, max_num=7)
    assert keep.tolist() == greedy(boxes, scores, torch.zeros_like(labels), 0.4)[:7]


def test_negative_coordinates_clash_only_with_the_offset() -> None:
    # the largest coordinate is 100: class 1 moves by 101 and lands on the first box
    boxes = torch.tensor(
        [[80.0, 80.0, 100.0, 100.0], [-21.0, -21.0, -1.0, -1.0], [20.0, 20.0, 30.0, 30.0]]
    )
    scores, labels = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 1, 0])
    faithful = class_aware_nms(boxes, scores, labels, iou_thresh=0.5)
    apart = class_aware_nms(boxes, scores, labels, iou_thresh=0.5, offset_trick=False)
    assert faithful.tolist() == [0, 2]
    assert apart.tolist() == [0, 1, 2]


def test_multiclass_thresholds_before_the_factors() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [9.0, 9.0, 12.0, 12.0]])
    scores = torch.tensor([[0.6, 0.1], [0.3, 0.5]])
    found, index = multiclass_nms(
        boxes,
        scores,
        score_thresh=0.2,
        iou_thresh=0.5,
        score_factors=torch.tensor([0.1, 1.0]),
    )
    assert index.tolist() == [3, 2, 0]
    assert found.labels.tolist() == [1, 0, 0]
    torch.testing.assert_close(found.scores, torch.tensor([0.5, 0.3, 0.06]))
    assert found.boxes.tolist() == boxes[[1, 1, 0]].tolist()


def soft_greedy(
    boxes: Tensor, scores: Tensor, labels: Tensor, *, rule: SoftNMS, iou_thresh: float
) -> list[tuple[int, float]]:
    """Soft-NMS as in the paper's figure, class by class, box by box."""
    found = []
    for label in torch.unique(labels).tolist():
        left = {i: scores[i] for i in (labels == label).nonzero().flatten().tolist()}
        while left:
            best = max(left, key=lambda i: (float(left[i]), -i))
            score = left.pop(best)
            if score < rule.min_score:
                break
            found.append((best, float(score)))
            for i, old in left.items():
                iou = aligned_iou(boxes[best], boxes[i])
                if rule.method == "gaussian":
                    left[i] = old * torch.exp(-(iou**2) / rule.sigma)
                elif iou > iou_thresh:
                    left[i] = old * (1 - iou)
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


@given(seed=st.integers(0, 2**31), min_score=st.sampled_from([1e-6, 0.2]))
@settings(deadline=None, max_examples=25)
def test_soft_linear_follows_the_definition(seed: int, min_score: float) -> None:
    boxes, scores, labels = draw(seed, 30, 3)
    rule = SoftNMS(min_score=min_score)
    keep, lowered = soft_nms(boxes, scores, labels, rule=rule, iou_thresh=0.3)
    expected = soft_greedy(boxes, scores, labels, rule=rule, iou_thresh=0.3)
    assert list(zip(keep.tolist(), lowered.tolist(), strict=True)) == expected
    few, few_scores = soft_nms(boxes, scores, labels, rule=rule, iou_thresh=0.3, max_num=4)
    assert few.tolist() == keep[:4].tolist()
    assert few_scores.tolist() == lowered[:4].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_soft_gaussian_follows_the_definition(seed: int) -> None:
    boxes, scores, labels = draw(seed, 30, 3)
    scores = scores + torch.linspace(0, 0.01, 30)  # no ties, which rounding would decide
    rule = SoftNMS(method="gaussian", sigma=0.3)
    keep, lowered = soft_nms(boxes, scores, labels, rule=rule, iou_thresh=0.3)
    expected = soft_greedy(boxes, scores, labels, rule=rule, iou_thresh=0.3)
    assert keep.tolist() == [i for i, _ in expected]
    assert lowered.tolist() == pytest.approx([score for _, score in expected], abs=1e-6)


@pytest.mark.parametrize(
    ("method", "second"), [("linear", 0.4), ("gaussian", 0.8 * math.exp(-0.25 / 0.5))]
)
def test_soft_by_hand(method: Literal["linear", "gaussian"], second: float) -> None:
    labels = torch.zeros(2, dtype=torch.int64)
    rule = SoftNMS(method=method)
    scores = torch.tensor([0.9, 0.8])
    keep, lowered = soft_nms(HALF, scores, labels, rule=rule, iou_thresh=0.4)
    assert keep.tolist() == [0, 1]
    assert lowered.tolist() == pytest.approx([0.9, second])


def test_soft_linear_leaves_the_threshold_itself_alone() -> None:
    labels, scores = torch.zeros(2, dtype=torch.int64), torch.tensor([0.9, 0.8])
    _, lowered = soft_nms(HALF, scores, labels, rule=SoftNMS(), iou_thresh=0.5)
    assert lowered.tolist() == scores.tolist()


def test_soft_on_nothing_one_and_copies() -> None:
    rule, label = SoftNMS(), torch.zeros(1, dtype=torch.int64)
    keep, scores = soft_nms(HALF[:0], label[:0].float(), label[:0], rule=rule, iou_thresh=0.5)
    assert (keep.tolist(), scores.tolist()) == ([], [])
    keep, scores = soft_nms(HALF[:1], torch.tensor([0.5]), label, rule=rule, iou_thresh=0.5)
    assert (keep.tolist(), scores.tolist()) == ([0], [0.5])
    copies, equal = HALF[:1].repeat(3, 1), torch.full((3,), 0.5)
    keep, _ = soft_nms(copies, equal, label.repeat(3), rule=rule, iou_thresh=0.5)
    assert keep.tolist() == [0]  # the others fall to 0
    keep, _ = soft_nms(copies, equal, torch.arange(3), rule=rule, iou_thresh=0.5)
    assert keep.tolist() == [0, 1, 2]
    keep, scores = soft_nms(torch.ones(3, 4), equal, label.repeat(3), rule=rule, iou_thresh=0.5)
    assert (keep.tolist(), scores.tolist()) == ([0, 1, 2], [0.5] * 3)  # of no area


@pytest.mark.parametrize(
    ("values", "message"),
    [({"sigma": 0.0}, "got 0.0"), ({"min_score": 0.0}, "got 0.0"), ({"min_score": 1.5}, "got 1.5")],
)
def test_bad_soft_rules(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SoftNMS(**values)  # type: ignore[arg-type]


def nwd_greedy(boxes: Tensor, scores: Tensor, thresh: float, nwd_constant: float) -> list[int]:
    """The definition, word by word, on the whole table."""
    kept: list[int] = []
    nwd = pairwise_similarity("nwd", boxes, boxes, nwd_constant=nwd_constant)
    for i in scores.argsort(descending=True, stable=True).tolist():
        if not (nwd[kept, i] > thresh).any():
            kept.append(i)
    return kept


@given(
    seed=st.integers(0, 2**31),
    thresh=st.sampled_from([1e-3, 0.3, 0.85, 0.999, 1.0]),
    nwd_constant=st.sampled_from([1.0, 12.8, 1000.0]),
)
@settings(deadline=None, max_examples=60)
def test_nwd_follows_the_definition(seed: int, thresh: float, nwd_constant: float) -> None:
    boxes, scores, _ = draw(seed, 60, 1)
    keep = similarity_nms(boxes, scores, thresh, nwd_constant=nwd_constant)
    assert keep.tolist() == nwd_greedy(boxes, scores, thresh, nwd_constant)


@pytest.mark.parametrize("pairs", [1, 50, 700])
def test_nwd_does_not_depend_on_how_many_pairs_are_looked_at(
    pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("motedet.geometry.nms")  # the function has the same name
    monkeypatch.setattr(module, "PAIRS", pairs)
    boxes, scores, _ = draw(3, 200, 1)
    keep = similarity_nms(boxes, scores, 0.85)
    assert keep.tolist() == nwd_greedy(boxes, scores, 0.85, 12.8)


def test_nwd_along_a_chain() -> None:
    # each box is similar to its neighbours only: every second one stays
    boxes = torch.tensor([0.0, 0.0, 4.0, 4.0]) + 1.5 * torch.arange(101)[:, None]
    keep = similarity_nms(boxes, torch.linspace(1, 0.5, 101), 0.8)
    assert keep.tolist() == list(range(0, 101, 2))


def test_nwd_on_nothing_one_and_copies() -> None:
    assert similarity_nms(torch.zeros(0, 4), torch.zeros(0), 0.85).tolist() == []
    assert similarity_nms(HALF[:1], torch.ones(1), 0.85).tolist() == [0]
    scores = torch.tensor([0.5, 0.5, 0.9])
    assert similarity_nms(HALF[:1].repeat(3, 1), scores, 0.85).tolist() == [2]
    assert similarity_nms(torch.ones(3, 4), scores, 0.85).tolist() == [2]  # of no area, yet equal
    with pytest.raises(ValueError, match=r"got 0\.0"):
        similarity_nms(HALF, torch.ones(2), 0.0)
    with pytest.raises(ShapeError, match="boxes must be a float tensor"):
        similarity_nms(torch.zeros(2, 5), torch.zeros(2), 0.5)
