"""Losses of Gaussian Assignment's five models and of their parts, against the published code."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden_files import load_json, load_npz
from motedet.assign import GaussianAssigner
from motedet.geometry import DeltaCoder, box_centers, encode_ltrb
from motedet.losses import GIoULoss, HeatmapFocalLoss
from motedet.models.backbones import BackboneSpec
from motedet.models.dense import HeadOutputs, centerness, ctrness_sides
from motedet.models.detectors import (
    FCOS,
    ATSSDetector,
    ATSSSpec,
    FCOSSpec,
    RetinaNet,
    RetinaNetSpec,
    TTFNet,
    TTFNetSpec,
)
from motedet.models.heads import SlimHeadSpec
from motedet.models.necks import FuseNeckSpec
from motedet.models.necks.fpn import flatten_levels
from motedet.models.postprocess import Postprocess
from motedet.priors import Anchors, Points
from motedet.structures import Targets

Spec = TTFNetSpec | RetinaNetSpec | FCOSSpec | ATSSSpec
Array = NDArray[Any]

STRIDE = 4
NUM_CLASSES = 8
COMPONENTS: dict[str, Array] = load_npz("gaussian_assignment", "components.npz")
STORED: dict[str, Array] = load_npz("gaussian_assignment", "losses.npz")
INFO: dict[str, Any] = load_json("gaussian_assignment", "losses_info.json")
OURS = {
    "loss_cls": "loss_cls",
    "loss_bbox": "loss_box",
    "loss_box": "loss_box",
    "loss_iou": "loss_iou",
    "loss_centerness": "loss_ctr",
}


def golden_specs() -> dict[str, Spec]:
    """The five models with the smallest body that there is."""
    backbone, neck = BackboneSpec(name="resnet18", out_stages=(1,)), FuseNeckSpec(out_channels=8)
    deltas = SlimHeadSpec(boxes="deltas")
    anchors = Anchors(strides=(4,), ratios=(1.0,), octave_base_scale=3, scales_per_octave=1)
    coder, giou = DeltaCoder(std=(0.1, 0.1, 0.2, 0.2)), GIoULoss(weight=2.0)
    tests = Postprocess(score_thresh=0.01, nms_iou=0.65, max_per_image=300, min_box_size=-1.0)
    ttfnet = TTFNetSpec(backbone=backbone, neck=neck)
    return {
        "ttfnet_dk53_ga": ttfnet,
        "ttfnet_mitb1_ga": replace(
            ttfnet,
            assigner=GaussianAssigner(alpha=0.54, inclusive=False),
            cls_loss=HeatmapFocalLoss(thresh=0.01),
        ),
        "retinanet_s_ga": RetinaNetSpec(
            backbone=backbone,
            neck=neck,
            head=replace(deltas, quality=False),
            priors=anchors,
            assigner=GaussianAssigner(),
            coder=coder,
            box_loss=giou,
            postprocess=tests,
        ),
        "fcos_s_ga": FCOSSpec(
            backbone=backbone,
            neck=neck,
            head=SlimHeadSpec(),
            priors=Points(strides=(4,)),
            assigner=GaussianAssigner(pos_thresh=0.01),
            box_loss=giou,
            ctrness_from="corners",
            postprocess=tests,
        ),
        "atss_s_ga": ATSSSpec(
            backbone=backbone,
            neck=neck,
            head=deltas,
            priors=anchors,
            assigner=GaussianAssigner(),
            coder=coder,
            box_loss=giou,
            ctrness_from="padded_distances",
            postprocess=replace(tests, pre_nms=2000, max_per_image=600),
        ),
    }


SPECS = golden_specs()


@cache
def golden_detector(model: str) -> TTFNet | RetinaNet | FCOS | ATSSDetector:
    """One of the five, of whose weights nothing is used."""
    return SPECS[model].build(NUM_CLASSES)


def golden_outputs(model: str, maps: Sequence[Tensor]) -> HeadOutputs:
    """Stored maps `out0`, `out1`, ... [B, C, h, w] as our heads would give them."""
    boxes, quality = maps[1], maps[2] if len(maps) > 2 else None
    if model.startswith("ttfnet"):
        boxes, quality = maps[1][:, :4], maps[1][:, 4:].logit()  # the IoU itself is stored
    if not model.startswith(("retinanet", "atss")):
        boxes = boxes / STRIDE  # distances are stored in pixels
    return HeadOutputs(
        logits=flatten_levels([maps[0]], NUM_CLASSES),
        boxes=flatten_levels([boxes], 4),
        ctrness=None if quality is None else flatten_levels([quality], 1).squeeze(-1),
        level_sizes=((maps[0].shape[-2], maps[0].shape[-1]),),
    )


def _maps(model: str) -> list[Tensor]:
    source = "ttfnet_dk53_ga" if model.startswith("ttfnet") else model
    found = [STORED[f"{source}/out{i}"] for i in range(3) if f"{source}/out{i}" in STORED]
    return [torch.from_numpy(array).requires_grad_() for array in found]


def _targets(scene: str) -> list[Targets]:
    return [
        Targets.of(
            torch.from_numpy(STORED[f"{scene}/img{i}/gt_boxes"]),
            torch.from_numpy(STORED[f"{scene}/img{i}/gt_labels"]),
            (96, 96),
        )
        for i in range(2)
    ]


@pytest.mark.parametrize("case", INFO)
def test_losses_and_gradients(case: str) -> None:
    model, scene = case.split("/")
    maps = _maps(model)
    losses = golden_detector(model).losses(golden_outputs(model, maps), _targets(scene))
    total = torch.stack(list(losses.values())).sum()
    gradients = torch.autograd.grad(total, maps)
    assert total.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)
    if isinstance(INFO[case], str):  # the published code fails here
        return

    expected = {n: STORED[f"{case}/{n}"] for n in OURS if f"{case}/{n}" in STORED}
    assert set(losses) == {OURS[name] for name in expected}
    for name, value in expected.items():
        np.testing.assert_allclose(losses[OURS[name]].item(), value, rtol=1e-5, err_msg=name)
    if scene == "two":
        for i, gradient in enumerate(gradients):
            np.testing.assert_allclose(
                gradient.numpy(), STORED[f"{case}/grad{i}"], rtol=1e-4, atol=1e-6
            )


def _stored(key: str) -> Tensor:
    return torch.from_numpy(COMPONENTS[key])


THRESHOLDS = [match[1] for key in COMPONENTS if (match := re.fullmatch("ctfocal/thr(.+)", key))]


@pytest.mark.parametrize("thresh", THRESHOLDS)
def test_heatmap_focal_loss(thresh: str) -> None:
    loss = HeatmapFocalLoss(thresh=float(thresh))
    logits, heat = _stored("ctfocal/pred").logit(), _stored("ctfocal/gt")
    found = loss(logits, heat).sum() / loss.num_pos(heat)
    np.testing.assert_allclose(found.item(), COMPONENTS[f"ctfocal/thr{thresh}"], rtol=1e-5)


def test_heatmap_focal_loss_without_heat() -> None:
    logits = _stored("ctfocal/pred").logit()
    found = HeatmapFocalLoss()(logits, torch.zeros_like(logits)).sum()
    np.testing.assert_allclose(found.item(), COMPONENTS["ctfocal/no_pos"], rtol=1e-5)


def test_giou_of_boxes_a_pixel_larger() -> None:
    weight = _stored("giou1/weight")
    per_box = GIoULoss(plus_one=True)(_stored("giou1/pred"), _stored("giou1/target"))
    total = (weight * per_box).sum()
    divisors = {"default_avg": (weight > 0).sum() + 1e-6, "avg_sumw": weight.sum() + 1e-4}
    for name, divisor in divisors.items():
        found = (total / divisor).item()
        np.testing.assert_allclose(found, COMPONENTS[f"giou1/loss_{name}"], rtol=1e-5)


def test_ctrness_of_padded_distances() -> None:
    gt_boxes = _stored("atss_centerness/gts")
    ltrb = encode_ltrb(box_centers(_stored("atss_centerness/anchors")), gt_boxes)
    found = centerness(ctrness_sides("padded_distances", ltrb, gt_boxes))
    np.testing.assert_allclose(
        found.numpy(), COMPONENTS["atss_centerness/value"], rtol=0, atol=1e-5
    )


def test_ctrness_of_corners() -> None:
    gt_boxes = _stored("fcos_centerness/targets")
    found = centerness(ctrness_sides("corners", torch.zeros_like(gt_boxes), gt_boxes))
    np.testing.assert_allclose(
        found.numpy(), COMPONENTS["fcos_centerness/value"], rtol=0, atol=1e-5
    )


def test_there_are_cases() -> None:
    assert {case.split("/")[0] for case in INFO} == set(SPECS)
    assert THRESHOLDS
