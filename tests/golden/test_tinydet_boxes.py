"""Anchors, boxes and assignments of TinyDet against the published code."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from golden_tinydet import (
    LAST_PIXEL,
    MODELS,
    arrays,
    assert_close,
    assert_same_stats,
    half_open,
    rnd,
)
from motedet.assign import BestOverlap
from motedet.geometry import (
    DeltaCoder,
    SoftNMS,
    aligned_iou,
    nms,
    pairwise_iof,
    pairwise_iou,
    soft_nms,
)
from motedet.models.dense import HeadOutputs
from motedet.models.necks.fpn import flatten_levels
from motedet.models.postprocess import Candidates, Suppression, clip_to_images
from motedet.structures import IGNORED, PackedTargets, Targets

every_model = pytest.mark.parametrize("key", MODELS)


# Boxes.


@every_model
def test_anchors(key: str) -> None:
    stored, model = arrays("anchors"), MODELS[key]
    cells = torch.split(model.priors([(3, 4)] * len(model.strides)).boxes(), 36)
    for i, stride in enumerate(model.strides):
        bases = torch.tensor(model.priors.base_boxes(stride)) - LAST_PIXEL
        np.testing.assert_array_equal(bases, stored[f"{key}.base{i}"])
        np.testing.assert_array_equal(cells[i] - LAST_PIXEL, stored[f"{key}.grid{i}_h3_w4"])
    grid, size = model.priors(model.level_sizes), model.size
    counts = [level.num_priors for level in grid.levels]
    np.testing.assert_array_equal(counts, stored[f"{key}.count_total_{size}x{size}"])
    for smaller, name in (((0, 0), ""), ((37, 21), "_imgshape_minus_37_21")):
        inside = torch.split(grid.within([(size - smaller[0], size - smaller[1])], 0.5)[0], counts)
        expected = stored[f"{key}.count_inside_{size}x{size}{name}"]
        np.testing.assert_array_equal([int(part.sum()) for part in inside], expected)


@pytest.mark.parametrize(("name", "std"), [("rpn", (1.0,) * 4), ("rcnn", (0.1, 0.1, 0.2, 0.2))])
def test_coder(name: str, std: Any) -> None:  # noqa: ANN401 - four numbers
    stored, coder = arrays("coder"), DeltaCoder(std=std)
    proposals, objects = half_open(stored["proposals"]), half_open(stored["gts"])
    assert_close(coder.encode(proposals, objects), stored[f"{name}.encoded"], 1e-5)
    image = torch.zeros(len(proposals), dtype=torch.int64)
    found = coder.decode(proposals, torch.from_numpy(stored[f"{name}.encoded"]))
    _same_pixels(found, stored[f"{name}.decoded"])
    clipped = clip_to_images(found, image, [(320, 320)], keep=1.0)
    _same_pixels(clipped, stored[f"{name}.decoded_clamped"])


def test_large_deltas() -> None:
    stored = arrays("coder")
    proposals, deltas = half_open(stored["proposals"]), torch.from_numpy(stored["big_deltas"])
    found = DeltaCoder().decode(proposals, deltas)
    assert_close(found - LAST_PIXEL, stored["big.decoded"], 1e-5)
    image = torch.zeros(len(proposals), dtype=torch.int64)
    clipped = clip_to_images(found, image, [(280, 300)], keep=1.0)
    assert_close(clipped - LAST_PIXEL, stored["big.decoded_clamped_280x300"], 1e-5)


def _same_pixels(found: Tensor, expected: Any) -> None:  # noqa: ANN401 - an array
    np.testing.assert_allclose(found - LAST_PIXEL, expected, rtol=0, atol=1e-4)


def test_overlaps() -> None:
    stored = arrays("coder")
    proposals, objects = half_open(stored["proposals"]), half_open(stored["gts"])
    assert_close(pairwise_iou(proposals[:24], objects[:16]), stored["iou"], 1e-5)
    assert_close(pairwise_iof(proposals[:24], objects[:16]), stored["iof"], 1e-5)
    assert_close(aligned_iou(proposals, objects), stored["iou_aligned"], 1e-5)


@pytest.mark.parametrize("case", range(3))
def test_suppression_of_one_class(case: int) -> None:
    stored = arrays("nms")
    table = stored[f"dets{case}"]
    boxes, scores = half_open(table[:, :4]), torch.from_numpy(table[:, 4])
    for threshold in (0.7, 0.5):
        kept = nms(boxes, scores, threshold).sort().values
        np.testing.assert_array_equal(kept, stored[f"nms{case}.thr{threshold}.keep"])
    for name, rule, threshold in (
        ("linear", SoftNMS(), 0.5),
        ("gaussian", SoftNMS(method="gaussian"), 0.5),
        ("linear_thr0.3_min0.05", SoftNMS(min_score=0.05), 0.3),
    ):
        labels = torch.zeros(len(boxes), dtype=torch.int64)
        kept, lowered = soft_nms(boxes, scores, labels, rule=rule, iou_thresh=threshold)
        np.testing.assert_array_equal(kept, stored[f"soft{case}.{name}.inds"])
        assert_close(lowered, stored[f"soft{case}.{name}.dets"][:, 4], 1e-5)


@pytest.mark.parametrize("case", range(3))
def test_suppression_of_many_classes(case: int) -> None:
    stored = arrays("nms")
    boxes = half_open(stored[f"mc{case}.boxes"])
    probs = torch.from_numpy(stored[f"mc{case}.scores"])[:, 1:]  # without the background
    row, label = (probs > 0.01).nonzero().unbind(1)
    candidates = Candidates(torch.zeros_like(row), row, label, probs[row, label])
    rule = Suppression(score_thresh=0.01, soft=SoftNMS())
    (found,) = rule.detections(candidates, boxes[row], [(1000, 1000)])
    table, labels = stored[f"mc{case}.dets"], stored[f"mc{case}.labels"]
    order = np.lexsort((labels, -table[:, 4]))  # published: by class unless there are too many
    assert_close(found.boxes - LAST_PIXEL, table[order, :4], 1e-5)
    assert_close(found.scores, table[order, 4], 1e-5)
    np.testing.assert_array_equal(found.labels, labels[order])


@every_model
@pytest.mark.parametrize("phase", ["test", "train"])
def test_proposals(key: str, phase: str) -> None:
    """In the published order."""
    stored, model = arrays("rpn_post"), MODELS[key]
    cells = [(2, h, w) for h, w in model.level_sizes]
    logits = [rnd(620 + i, (b, 3, h, w)) * 2 - 2 for i, (b, h, w) in enumerate(cells)]
    deltas = [rnd(630 + i, (b, 12, h, w)) * 0.3 for i, (b, h, w) in enumerate(cells)]
    outputs = HeadOutputs(
        flatten_levels(logits, 1), flatten_levels(deltas, 4), None, model.level_sizes
    )
    spec, size = MODELS[key].spec.rpn, model.size
    grid, sizes = model.priors(model.level_sizes), [(size, size), (size - 50, size - 18)]

    def boxes_of(image: Tensor, prior: Tensor) -> Tensor:
        return spec.coder.decode(grid.boxes_at(prior), outputs.boxes[image, prior])

    rule = spec.train_proposals if phase == "train" else spec.test_proposals
    found = rule(outputs.logits.squeeze(-1), boxes_of, grid.level_starts, sizes)
    for i, mine in enumerate(found):
        table = torch.cat((mine.boxes - LAST_PIXEL, mine.scores[:, None]), dim=1)
        assert len(table) == stored[f"{key}.{phase}.img{i}.count"]
        assert_close(table[:200], stored[f"{key}.{phase}.img{i}"], 1e-4)
        assert_same_stats(table, stored[f"{key}.{phase}.img{i}.stats"], 1e-5)


# Who learns from what.


@every_model
@pytest.mark.parametrize("case", ["one", "five", "sixty", "edge", "many"])
def test_first_assignment(key: str, case: str) -> None:
    stored, model, spec = arrays("assign"), MODELS[key], MODELS[key].spec.rpn
    objects = half_open(stored[f"{key}.{case}.gts"])
    labels = torch.zeros(len(objects), dtype=torch.int64)
    packed = PackedTargets.pack(
        [Targets.of(objects, labels, (model.size, model.size))],
        limit_to_padding=True,
        allowed_border=spec.allowed_border,
    )
    grid = model.priors(model.level_sizes)
    published = stored[f"{key}.{case}.assigned"].astype(np.int64)
    expected = np.where(published < 0, IGNORED, published - 1)  # not inside is ignored too
    match = spec.assigner(grid, packed)
    np.testing.assert_array_equal(match.gt_index[0], expected)
    prior = torch.from_numpy(np.flatnonzero(expected >= 0))
    deltas = spec.coder.encode(grid.boxes_at(prior), objects[match.gt_index[0, prior]])
    assert_close(deltas, stored[f"{key}.{case}.pos_targets"], 1e-5)


@pytest.mark.parametrize("case", range(2))
def test_second_assignment(case: int) -> None:
    stored = arrays("assign")
    proposals = half_open(stored[f"rcnn{case}.proposals"])
    objects = half_open(stored[f"rcnn{case}.gts"])
    classes = torch.from_numpy(stored[f"rcnn{case}.gt_labels"]).long() - 1
    packed = PackedTargets.pack([Targets.of(objects, classes, (320, 320))])
    image = torch.zeros(len(proposals), dtype=torch.int64)
    match = BestOverlap(pos_iou=0.5)(proposals, image, packed)
    np.testing.assert_array_equal(match, stored[f"rcnn{case}.assigned"].astype(np.int64) - 1)
    positive = match >= 0
    found = torch.where(positive, classes[match.clamp(min=0)] + 1, 0)
    np.testing.assert_array_equal(found[positive], stored[f"rcnn{case}.labels"][positive.numpy()])
