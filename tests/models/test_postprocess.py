"""Thresholds, counts per level and per image, and the two published orders."""

import math

import pytest
import torch
from torch import Tensor

from motedet.geometry import SoftNMS
from motedet.models.dense import HeadOutputs
from motedet.models.postprocess import Candidates, Postprocess, Suppression, clip_to_images


def _logit(prob: float) -> float:
    return math.log(prob / (1 - prob))


def _outputs(probs: list[list[list[float]]], ctrness: Tensor | None = None) -> HeadOutputs:
    """Outputs whose class probabilities are `probs` [B, P, K]."""
    logits = torch.tensor(probs).logit()
    return HeadOutputs(logits, torch.zeros(*logits.shape[:2], 4), ctrness, ((1, 1),))


def _triples(found: Candidates) -> list[tuple[int, int, int]]:
    return list(zip(found.image.tolist(), found.prior.tolist(), found.label.tolist(), strict=True))


@pytest.mark.parametrize("rank", ["pairs", "priors"])
def test_nothing_above_the_threshold(rank: str) -> None:
    post = Postprocess(rank=rank)  # type: ignore[arg-type]
    found = post.candidates(_outputs([[[0.01, 0.02]], [[0.03, 0.04]]]), (0,))
    assert len(found.score) == 0
    none = post.detections(found, torch.zeros(0, 4), [(8, 8), (8, 8)])
    assert [len(d) for d in none] == [0, 0]


@pytest.mark.parametrize("rank", ["pairs", "priors"])
def test_threshold_is_strict(rank: str) -> None:
    outputs = _outputs([[[0.5, 0.6]]])
    for thresh, count in ((0.5, 1), (0.4999999, 2), (0.0, 2)):
        post = Postprocess(rank=rank, score_thresh=thresh)  # type: ignore[arg-type]
        assert len(post.candidates(outputs, (0,)).score) == count


def test_pairs_are_counted_per_level_and_image() -> None:
    probs = [[[0.9, 0.8], [0.7, 0.1], [0.3, 0.2]], [[0.1, 0.2], [0.3, 0.4], [0.6, 0.5]]]
    found = Postprocess(pre_nms=2).candidates(_outputs(probs), (0, 2))
    assert _triples(found) == [
        (0, 0, 0), (0, 0, 1), (0, 2, 0), (0, 2, 1),
        (1, 1, 1), (1, 1, 0), (1, 2, 0), (1, 2, 1),
    ]  # fmt: skip


def test_priors_are_counted_by_their_best_class_times_ctrness() -> None:
    probs = [[[0.9, 0.8], [0.7, 0.6], [0.3, 0.1]]]
    ctrness = torch.tensor([[_logit(0.1), _logit(0.9), _logit(0.9)]])
    post = Postprocess(rank="priors", pre_nms=2)
    found = post.candidates(_outputs(probs, ctrness), (0,))
    assert _triples(found) == [(0, 1, 0), (0, 1, 1), (0, 2, 0), (0, 2, 1)]
    torch.testing.assert_close(found.score, torch.tensor([0.63, 0.54, 0.27, 0.09]))
    every = Postprocess(rank="pairs", pre_nms=2).candidates(_outputs(probs, ctrness), (0,))
    assert _triples(every) == [(0, 0, 0), (0, 0, 1)]
    torch.testing.assert_close(every.score, torch.tensor([0.09, 0.08]))


def test_equal_scores_keep_the_first() -> None:
    found = Postprocess(pre_nms=3).candidates(_outputs([[[0.5]] * 10]), (0,))
    assert found.prior.tolist() == [0, 1, 2]


def test_detections_are_clipped_suppressed_and_limited() -> None:
    boxes = torch.tensor(
        [[-5.0, -5, 10, 10], [-5, -5, 10, 11], [20, 20, 50, 50], [60, 60, 70, 70], [1, 1, 3, 3]]
    )
    found = Candidates(
        image=torch.zeros(5, dtype=torch.int64),
        prior=torch.arange(5),
        label=torch.zeros(5, dtype=torch.int64),
        score=torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]),
    )
    (seen,) = Postprocess(max_per_image=2).detections(found, boxes, [(30, 40)])
    assert seen.boxes.tolist() == [[0, 0, 10, 10], [20, 20, 40, 30]]
    (seen,) = Postprocess().detections(found, boxes, [(30, 40)])
    assert seen.scores.tolist() == pytest.approx([0.9, 0.7, 0.5])  # the fourth lies outside
    (seen,) = Postprocess(min_box_size=-1.0).detections(found, boxes, [(30, 40)])
    assert len(seen) == 4
    (seen,) = Postprocess(min_box_size=2.0).detections(found, boxes, [(30, 40)])
    assert len(seen) == 2  # strictly wider


def test_classes_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3)
    found = Candidates(
        image=torch.tensor([0, 0, 1]),
        prior=torch.tensor([0, 0, 0]),
        label=torch.tensor([0, 1, 0]),
        score=torch.tensor([0.9, 0.8, 0.7]),
    )
    first, second = Postprocess().detections(found, boxes, [(16, 16), (16, 16)])
    assert first.labels.tolist() == [0, 1]
    assert second.labels.tolist() == [0]


def test_soft_suppression_lowers_scores_instead() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 6], [20, 20, 30, 30]])
    found = Candidates(
        image=torch.zeros(4, dtype=torch.int64),
        prior=torch.arange(4),
        label=torch.tensor([0, 0, 1, 0]),
        score=torch.tensor([0.9, 0.8, 0.7, 0.6]),
    )
    (seen,) = Suppression(soft=SoftNMS()).detections(found, boxes, [(64, 64)])
    assert seen.scores.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.8 * 0.4])
    assert seen.labels.tolist() == [0, 1, 0, 0]
    assert seen.boxes.tolist() == boxes[[0, 2, 3, 1]].tolist()
    (seen,) = Suppression(soft=SoftNMS(), max_per_image=2).detections(found, boxes, [(64, 64)])
    assert seen.scores.tolist() == pytest.approx([0.9, 0.7])
    (seen,) = Suppression().detections(found, boxes, [(64, 64)])
    assert len(seen) == 3


def test_a_pixel_of_every_box_can_stay_inside() -> None:
    boxes = torch.tensor([[-9.0, -8, -5, 4], [50, 60, 70, 80], [39.5, 2, 44, 9], [3, 4, 8, 9]])
    image = torch.zeros(4, dtype=torch.int64)
    cut = clip_to_images(boxes, image, [(30, 40)])
    assert cut.tolist() == [[0, 0, 0, 4], [40, 30, 40, 30], [39.5, 2, 40, 9], [3, 4, 8, 9]]
    kept = clip_to_images(boxes, image, [(30, 40)], keep=1.0)
    assert kept.tolist() == [[0, 0, 1, 4], [39, 29, 40, 30], [39, 2, 40, 9], [3, 4, 8, 9]]
    found = Candidates(image, image, image, torch.ones(4))
    assert len(Suppression(nms_iou=1.0).detections(found, boxes, [(30, 40)])[0]) == 2
    assert len(Suppression(nms_iou=1.0, keep=1.0).detections(found, boxes, [(30, 40)])[0]) == 4


def test_no_images() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    found = Candidates(nothing, nothing, nothing, torch.zeros(0))
    assert Suppression().detections(found, torch.zeros(0, 4), []) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"score_thresh": 1.0}, "got 1.0"),
        ({"nms_iou": -0.1}, "got -0.1"),
        ({"pre_nms": 0}, "pre_nms must be at least 1; got 0"),
        ({"max_per_image": 0}, "max_per_image must be at least 1; got 0"),
        ({"keep": -1.0}, "keep must be 0 or more; got -1"),
    ],
)
def test_bad_values(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Postprocess(**values)  # type: ignore[arg-type]
