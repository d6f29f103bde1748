"""Dense detectors whose assigner looks at their predictions."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from motedet.assign import DynamicSoftLabel, Hierarchical, PredictionAware, SimOTA, TaskAligned
from motedet.errors import RecipeError
from motedet.losses import FocalLoss, QualityFocalLoss
from motedet.models.dense import class_loss, matched, predictions_of
from motedet.models.detectors import ATSSSpec, FCOSSpec, RetinaNetSpec
from motedet.priors import Points
from motedet.recipes import load_recipe
from motedet.structures import Assignment, PackedTargets, Predictions, Targets
from small_detectors import scene, small_dense

AWARE = (SimOTA(), TaskAligned(), DynamicSoftLabel())
DENSE = ("retinanet", "fcos", "fcos_rfla", "atss")
every_rule = pytest.mark.parametrize("rule", AWARE, ids=lambda rule: rule.kind)
every_detector = pytest.mark.parametrize("name", DENSE)


def spec_of(name: str, rule: PredictionAware) -> RetinaNetSpec | FCOSSpec | ATSSSpec:
    spec = small_dense()[name]
    assert isinstance(spec, RetinaNetSpec | FCOSSpec | ATSSSpec)
    return replace(spec, assigner=rule)


@every_rule
@every_detector
@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("loss", [FocalLoss(), QualityFocalLoss()], ids=lambda loss: loss.kind)
def test_losses_are_finite_and_train(
    name: str, rule: PredictionAware, objects: bool, loss: FocalLoss | QualityFocalLoss
) -> None:
    detector = replace(spec_of(name, rule), cls_loss=loss).build(2).train()
    images, targets = scene(objects=objects)
    losses = detector.loss(images, targets)
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    assert losses["loss_cls"] > 0
    assert (losses["loss_box"] > 0) == objects
    learning = [p for p in detector.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(total, learning, allow_unused=True)
    assert all(g is None or bool(torch.isfinite(g).all()) for g in gradients)
    assert any(g is not None and bool((g != 0).any()) for g in gradients)


@every_detector
def test_the_assigner_sees_the_decoded_boxes(name: str) -> None:
    detector = spec_of(name, SimOTA()).build(2).eval()
    images, targets = scene()
    outputs = detector(images)
    grid = detector.spec.priors(outputs.level_sizes)
    seen = detector.predictions(outputs, grid)
    assert not seen.boxes.requires_grad
    assert torch.equal(seen.scores, outputs.logits.sigmoid())
    with torch.no_grad():
        rule = replace(detector.spec.postprocess, score_thresh=0.0, nms_iou=1.0, pre_nms=50)
        detector.spec = replace(detector.spec, postprocess=rule)
        found = detector.detections(outputs, [(10_000, 10_000)] * 2)
    inside = (seen.boxes >= 0).all(-1)  # those that detections do not clip
    for image, detections in enumerate(found):
        kept = detections.boxes[(detections.boxes > 0).all(1)]
        distance = (kept[:, None] - seen.boxes[image, inside[image]][None]).abs().amax(-1).amin(1)
        assert len(kept) > 0
        assert distance.max() < 1e-4
    assert len(targets) == len(found)


@every_rule
@every_detector
def test_overfits_two_images(name: str, rule: PredictionAware) -> None:
    torch.manual_seed(0)
    detector = spec_of(name, rule).build(2).train()
    images, targets = scene()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    history = []
    for _ in range(12):
        loss = torch.stack(list(detector.loss(images, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        history.append(loss.item())
    assert min(history[-3:]) < history[0]


def test_plain_assigners_never_ask_for_predictions() -> None:
    grid = Points(strides=(8,))([(8, 8)])
    _, targets = scene()
    packed = PackedTargets.pack(targets)

    def refuse() -> Predictions:
        raise RuntimeError("asked")

    assert matched(Hierarchical(), grid, packed, refuse).positive.any()
    with pytest.raises(RuntimeError, match="asked"):
        matched(SimOTA(), grid, packed, refuse)


def test_predictions_are_float32_and_detached() -> None:
    logits = torch.zeros(2, 3, 4, dtype=torch.bfloat16, requires_grad=True)
    seen = predictions_of(logits, torch.ones(6, 4, dtype=torch.bfloat16))
    assert seen.boxes.shape == (2, 3, 4)
    assert {t.dtype for t in (seen.scores, seen.logits, seen.boxes)} == {torch.float32}
    assert not seen.scores.requires_grad


def one_match(quality: float) -> tuple[Tensor, Assignment, PackedTargets]:
    box = torch.tensor([[0.0, 0, 8, 8]])
    targets = PackedTargets.pack([Targets.of(box, torch.tensor([1]), (8, 8))])
    match = Assignment(torch.tensor([[0, -1]]), torch.tensor([[quality, 0.0]]))
    return torch.zeros(1, 2, 2), match, targets


def test_class_loss_aims_at_one_or_at_the_quality() -> None:
    logits, match, targets = one_match(0.5)
    hard = class_loss(FocalLoss(), logits, match, targets)
    soft = class_loss(QualityFocalLoss(), logits, match, targets)
    assert hard.shape == soft.shape == (2, 2)
    assert hard[0, 1] > 0
    assert soft[0, 1] == 0  # sigmoid(0) is the quality
    assert soft[0, 0] > 0


BAD: list[tuple[str, list[str], str]] = [
    (
        "fcos_r50_coco",
        ["model.cls_loss.kind=quality_focal"],
        "cls_loss 'quality_focal' needs soft targets, which assigner 'fcos' does not give; "
        "expected simota, tal or soft_label",
    ),
    ("faster_r50_coco", ["model.rpn.assigner.kind=simota"], "rpn.assigner.*'simota'.*'max_iou'"),
    ("faster_r50_coco", ["model.rpn.assigner.kind=tal"], "rpn.assigner.*'tal'.*'hierarchical'"),
    ("sirst_simota_fcos_p2_r18", ["model.assigner.topk=0"], "topk must be at least 1; got 0"),
]


@pytest.mark.parametrize(("name", "settings", "message"), BAD)
def test_combinations_without_sense_are_one_line(
    name: str, settings: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        load_recipe(name, settings)
    assert "\n" not in str(error.value)


RECIPES = [
    f"assigners/{detector}_{rule}_r50_aitod"
    for detector in ("fcos", "retinanet", "atss")
    for rule in ("simota", "tal", "dsl")
]


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_differ_from_their_baseline_in_the_assigner_alone(name: str) -> None:
    detector = name.removeprefix("assigners/").split("_")[0]
    ours, theirs = load_recipe(name), load_recipe(f"baselines/{detector}_r50_aitod")
    assert (ours.data, ours.train) == (theirs.data, theirs.train)
    model: Any = ours.model
    assert isinstance(model.assigner, PredictionAware)
    plain: Callable[..., Any] = replace
    restored = plain(model, assigner=getattr(theirs.model, "assigner", None))
    if detector == "fcos":  # boxes of relu(0) have no area at the start
        restored = plain(restored, head=replace(model.head, distances="relu_stride"))
    assert restored == theirs.model
