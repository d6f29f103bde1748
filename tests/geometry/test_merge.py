"""Merging of what windows saw."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motedet.errors import ShapeError
from motedet.geometry import meetings as joining
from motedet.geometry import pairwise_iou
from motedet.geometry.merge import PlainMerge, SeamMerge, Sightings, suppress


def sightings(
    boxes: list[list[float]],
    *,
    scores: list[float] | None = None,
    labels: list[int] | None = None,
    window: list[int] | None = None,
    cut: list[bool] | None = None,
) -> Sightings:
    count = len(boxes)
    return Sightings(
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(scores if scores is not None else [0.9 - 0.1 * i for i in range(count)]),
        torch.tensor(labels or [0] * count, dtype=torch.int64),
        torch.tensor(window or list(range(count)), dtype=torch.int64),
        torch.tensor(cut or [False] * count, dtype=torch.bool),
    )


def greedy(boxes: Tensor, scores: Tensor, labels: Tensor, thresh: float) -> list[int]:
    """Suppression as it is told: the best box drops what is too close, and so on."""
    left = scores.argsort(descending=True, stable=True).tolist()
    iou = pairwise_iou(boxes, boxes)
    kept = []
    while left:
        best, *rest = left
        kept.append(best)
        left = [i for i in rest if labels[i] != labels[best] or not iou[best, i] > thresh]
    return kept


@pytest.mark.parametrize("rule", [PlainMerge(), SeamMerge()], ids=lambda rule: rule.kind)
def test_nothing_and_one(rule: PlainMerge | SeamMerge) -> None:
    assert rule(sightings([])).tolist() == []
    assert rule(sightings([[0.0, 0.0, 4.0, 4.0]])).tolist() == [0]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 120),
    classes=st.integers(1, 4),
    thresh=st.sampled_from([0.0, 0.3, 0.5, 0.9]),
    part=st.sampled_from([7, 100, 1 << 20]),
)
def test_suppression_is_greedy(
    seed: int, count: int, classes: int, thresh: float, part: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 2, generator=generator) * 60
    half = torch.rand(count, 2, generator=generator) * 8
    boxes = torch.cat((centre - half, centre + half), dim=1)
    scores = (torch.rand(count, generator=generator) * 20).round() / 20  # many equal ones
    labels = torch.randint(classes, (count,), generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "MAX_PAIRS", part)
        kept = suppress(boxes, scores, labels, iou_thresh=thresh)
    assert kept.tolist() == greedy(boxes, scores, labels, thresh)


def test_a_dropped_box_drops_nobody() -> None:
    chain = sightings([[0.0, 0.0, 10.0, 10.0], [3.0, 0.0, 13.0, 10.0], [6.0, 0.0, 16.0, 10.0]])
    assert PlainMerge(iou=0.5)(chain).tolist() == [0, 2]


def test_published_options() -> None:
    shifted = sightings([[0.0, 0.0, 10.0, 10.0], [3.0, 0.0, 13.0, 10.0]], labels=[0, 1])
    assert PlainMerge(iou=0.55)(shifted).tolist() == [0, 1]  # IoU 0.538, and two classes
    assert PlainMerge(iou=0.55, class_agnostic=True)(shifted).tolist() == [0, 1]
    assert PlainMerge(iou=0.55, class_agnostic=True, plus_one=True)(shifted).tolist() == [
        0
    ]  # 0.571
    halves = sightings([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.0]])  # IoU exactly 0.5
    assert PlainMerge(iou=0.5)(halves).tolist() == [0, 1]
    assert PlainMerge(iou=0.5, inclusive=True)(halves).tolist() == [0]
    same = sightings([[0.0, 0.0, 2.0, 2.0]] * 3)
    assert PlainMerge(iou=1.0)(same).tolist() == [0, 1, 2]


def test_the_part_at_a_seam_goes_where_the_whole_was_seen() -> None:
    whole, part, alone = (
        [90.0, 10.0, 110.0, 30.0],
        [90.0, 10.0, 100.0, 30.0],
        [0.0, 50.0, 9.0, 59.0],
    )
    seen = sightings(
        [part, whole, alone],
        scores=[0.9, 0.8, 0.7],  # the part scores more
        window=[0, 1, 0],
        cut=[True, False, True],
    )
    assert PlainMerge(iou=0.5)(seen).tolist() == [0, 1, 2]
    assert SeamMerge(iou=0.5)(seen).tolist() == [1, 2]


def test_a_part_stays_beside_boxes_of_its_own_window_or_another_class() -> None:
    whole, part = [90.0, 10.0, 110.0, 30.0], [90.0, 10.0, 100.0, 30.0]
    for labels, window in (([0, 1], [0, 1]), ([0, 0], [1, 1])):
        seen = sightings([part, whole], labels=labels, window=window, cut=[True, False])
        assert SeamMerge()(seen).tolist() == [0, 1]


def test_two_parts_do_not_cover_each_other() -> None:
    seen = sightings([[90.0, 0.0, 100.0, 9.0], [90.0, 0.0, 96.0, 9.0]], cut=[True, True])
    assert SeamMerge(iou=0.7)(seen).tolist() == [0, 1]


def test_bad_values() -> None:
    with pytest.raises(ValueError, match=r"iou must be in \[0, 1\]; got 1.5"):
        PlainMerge(iou=1.5)
    with pytest.raises(ValueError, match=r"cover in \(0, 1\]; got 0.5 and 0"):
        SeamMerge(cover=0.0)
    with pytest.raises(ShapeError, match="one value per box; got 1 boxes"):
        Sightings(torch.zeros(1, 4), *[torch.zeros(2)] * 4)
