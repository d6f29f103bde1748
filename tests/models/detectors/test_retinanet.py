"""What is particular to RetinaNet: its box losses, padding, and normaliser."""

from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter

from motedet.assign import GaussianAssigner, PredictionAware
from motedet.losses import GIoULoss, SmoothL1Loss
from motedet.models.detectors import RetinaNetSpec
from motedet.models.heads import RetinaHeadSpec, SlimHeadSpec
from motedet.priors import Anchors
from motedet.structures import PackedTargets, Targets
from small_detectors import SIZE, scene, small_specs


def _spec() -> RetinaNetSpec:
    spec = small_specs()["retinanet"]
    assert isinstance(spec, RetinaNetSpec)
    return spec


def test_box_losses_on_deltas_and_on_boxes() -> None:
    images, targets = scene()
    torch.manual_seed(0)
    detector = _spec().build(2).eval()
    values = []
    for loss in (SmoothL1Loss(), SmoothL1Loss(weight=2.0), GIoULoss()):
        detector.spec = replace(_spec(), box_loss=loss)
        values.append(detector.loss(images, targets)["loss_box"])
    torch.testing.assert_close(values[1], 2 * values[0])
    assert 0 < values[2] < 2


def test_an_empty_image_counts_one_in_the_normaliser() -> None:
    images, targets = scene()
    detector = _spec().build(2).eval()
    empty = Targets.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (SIZE, SIZE))
    outputs = detector(images[:1])
    alone = detector.losses(outputs, targets[:1])
    assigner = detector.spec.assigner
    assert not isinstance(assigner, PredictionAware)
    grid = detector.spec.priors(outputs.level_sizes)
    count = assigner(grid, _packed([targets[0]])).positive.sum()
    both = detector.loss(images, [targets[0], empty])
    torch.testing.assert_close(both["loss_box"], alone["loss_box"] * count / (count + 1))


def test_padding_takes_no_part() -> None:
    images, targets = scene()
    detector = _spec().build(2).eval()
    outputs = detector(images[:1])
    outputs.logits.retain_grad()
    first = targets[0]
    half = Targets(first.boxes, first.labels, first.ignore_boxes, (64, 32), (64, 32))
    detector.losses(outputs, [half])["loss_cls"].backward()  # type: ignore[no-untyped-call]
    grid = detector.spec.priors(outputs.level_sizes)
    points = grid.points(torch.device("cpu"))
    assert outputs.logits.grad is not None
    used = outputs.logits.grad[0].abs().sum(-1) > 0
    assert not used[points[:, 0] >= 32].any()
    assert used[points[:, 0] < 32].any()


def test_the_gaussian_assigner_needs_one_level() -> None:
    with pytest.raises(ValueError, match="got priors with 5 levels and 9 per cell"):
        RetinaNetSpec(assigner=GaussianAssigner())
    with pytest.raises(ValueError, match="got priors with 1 levels and 9 per cell"):
        RetinaNetSpec(assigner=GaussianAssigner(), priors=Anchors(strides=(4,)))


def test_head_without_a_kind_is_its_own() -> None:
    adapter = TypeAdapter(RetinaNetSpec)
    old = adapter.validate_python({"kind": "retinanet", "head": {"channels": 64}})
    assert old.head == RetinaHeadSpec(channels=64)
    head = {"kind": "slim", "boxes": "deltas", "quality": False}
    slim = adapter.validate_python({"kind": "retinanet", "head": head})
    assert slim.head == SlimHeadSpec(boxes="deltas", quality=False)
    assert adapter.validate_python(adapter.dump_python(slim)) == slim
    with pytest.raises(ValueError, match=r"needs head\.quality False; got True"):
        RetinaNetSpec(head=SlimHeadSpec(boxes="deltas"))


def _packed(targets: list[Targets]) -> PackedTargets:
    return PackedTargets.pack(targets, limit_to_padding=True)
