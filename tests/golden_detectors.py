"""Detectors rebuilt from what golden cases say about them: shapes of parameters and JSON fields."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden_files import fill
from motedet.assign import ATSS, FCOSAssigner, Hierarchical, MaxIoU
from motedet.geometry import DeltaCoder
from motedet.losses import DIoULoss, GIoULoss, IoULoss
from motedet.models.backbones import BackboneSpec
from motedet.models.dense import HeadOutputs
from motedet.models.detectors import ATSSSpec, FCOSSpec, RetinaNetSpec
from motedet.models.heads import ATSSHeadSpec, FCOSHeadSpec, RetinaHeadSpec
from motedet.models.necks import FPNSpec
from motedet.models.necks.fpn import flatten_levels
from motedet.models.postprocess import Postprocess
from motedet.priors import Anchors, Points, ReceptiveFields

DenseSpec = RetinaNetSpec | FCOSSpec | ATSSSpec
Array = NDArray[Any]

RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {  # (bottleneck, blocks per stage) -> name
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}


@dataclass(frozen=True)
class ModelCase:
    """One whole-model case: the detector's spec, its number of classes, and its weights."""

    spec: DenseSpec
    num_classes: int
    state: dict[str, Tensor]


def filled(shapes: Mapping[str, Sequence[int]], factors: Mapping[str, float]) -> dict[str, Tensor]:
    """The checkpoint of a manifest."""
    rule = fill()
    return {
        name: torch.from_numpy(
            np.asarray(rule(name, tuple(shape)) * np.float32(factors.get(name, 1)))
            if name in factors
            else np.asarray(rule(name, tuple(shape)))
        )
        for name, shape in shapes.items()
    }


def receptive_fields(strides: Sequence[int], *, anchors: bool) -> ReceptiveFields:
    """RFLA's priors: three ratios without offset, or one at the centre of the cell."""
    start: Literal["p2", "p3"] = "p2" if strides[0] == 4 else "p3"
    ratios = (0.5, 1.0, 2.0) if anchors else (1.0,)
    return ReceptiveFields(
        strides=tuple(strides), start_level=start, ratios=ratios, offset=0.0 if anchors else 0.5
    )


def rfla_assigner(*, shared: bool) -> Hierarchical:
    """RFLA's published assigner; `shared` priors shrink from image to image, as in its FCOS."""
    return Hierarchical(shared_priors=shared)


def tiny(strides: Sequence[int]) -> tuple[BackboneSpec, FPNSpec]:
    """The smallest body with these strides, where only losses or post-processing matter."""
    stages = tuple(s for s in (1, 2, 3, 4) if 2 ** (s + 1) in strides)
    neck = FPNSpec(out_channels=8, num_outs=len(strides), extra="on_output")
    return BackboneSpec(name="resnet18", out_stages=stages), neck


def tiny_rfla_retinanet(strides: Sequence[int]) -> RetinaNetSpec:
    """RetinaNet with RFLA's rules."""
    backbone, neck = tiny(strides)
    return RetinaNetSpec(
        backbone=backbone,
        neck=neck,
        head=RetinaHeadSpec(channels=8, num_convs=0),
        priors=receptive_fields(strides, anchors=True),
        assigner=rfla_assigner(shared=False),
        box_loss=DIoULoss(),
        postprocess=rfla_postprocess({}),
    )


def tiny_rfla_fcos(
    strides: Sequence[int], *, distances: Literal["exp", "relu_stride"] = "relu_stride"
) -> FCOSSpec:
    """FCOS with RFLA's rules; distances in strides for losses, in pixels for post-processing."""
    backbone, neck = tiny(strides)
    return FCOSSpec(
        backbone=backbone,
        neck=neck,
        head=FCOSHeadSpec(
            channels=8,
            num_convs=0,
            norm="none",
            conv_bias=True,
            ctrness_on="reg",
            distances=distances,
        ),
        priors=receptive_fields(strides, anchors=False),
        assigner=rfla_assigner(shared=True),
        box_loss=DIoULoss(),
        ctrness_floor=0.01,
        ignored_as_background=True,
        postprocess=rfla_postprocess({}),
    )


def rfla_postprocess(settings: Mapping[str, Any]) -> Postprocess:
    """RFLA's post-processing, with the values of a case where it states them."""
    return Postprocess(
        rank="priors",
        pre_nms=settings.get("nms_pre", 3000),
        score_thresh=settings.get("score_thr", 0.05),
        nms_iou=settings.get("nms_iou", 0.5),
        max_per_image=settings.get("max_per_img", 3000),
        min_box_size=-1.0,
    )


def tiny_detector_spec(case: Mapping[str, Any]) -> DenseSpec:
    """The detector of a case of `autoassign/losses.json`."""
    strides = case["strides"]
    backbone, neck = tiny(strides)
    if case["head"] == "RetinaHead":
        return RetinaNetSpec(
            backbone=backbone,
            neck=neck,
            head=RetinaHeadSpec(channels=8, num_convs=0),
            priors=Anchors(strides=tuple(strides)),
            assigner=MaxIoU(pos_iou=0.5, neg_iou=0.4, min_pos_iou=0.0),
        )
    if case["head"] == "ATSSHead":
        return ATSSSpec(
            backbone=backbone,
            neck=neck,
            head=ATSSHeadSpec(channels=8, num_convs=0, groups=1),
            priors=Anchors(
                strides=tuple(strides), ratios=(1.0,), octave_base_scale=8, scales_per_octave=1
            ),
            assigner=ATSS(),
            box_loss=GIoULoss(weight=case["giou_loss_weight"]),
        )
    options = case["options"]
    box_loss = options.get("loss_bbox", {"type": "IoULoss"})
    kinds: dict[str, type[IoULoss | GIoULoss | DIoULoss]] = {
        "IoULoss": IoULoss,
        "GIoULoss": GIoULoss,
        "DIoULoss": DIoULoss,
    }
    return FCOSSpec(
        backbone=backbone,
        neck=neck,
        head=FCOSHeadSpec(
            channels=8,
            num_convs=0,
            norm="none",
            distances="relu_stride" if options.get("norm_on_bbox") else "exp",
        ),
        priors=Points(strides=tuple(strides), offset=case.get("point_offset", 0.5)),
        assigner=FCOSAssigner(
            regress_ranges=tuple((low, high) for low, high in case["regress_ranges"]),
            center_radius=options.get("center_sample_radius", 1.5)
            if options.get("center_sampling")
            else None,
        ),
        box_loss=kinds[box_loss["type"]](weight=box_loss.get("loss_weight", 1.0)),
    )


def model_case(case: Mapping[str, Any]) -> ModelCase | None:
    """A whole-model case of either folder; None for detectors that are not dense ones of ours."""
    shapes: dict[str, list[int]] = case["state_dict"]
    heads = {name.split(".")[0] for name in shapes} - {"backbone", "neck"}
    if heads != {"bbox_head"} or any("center_prior" in name for name in shapes):
        return None
    settings = case.get("settings") or case["test_cfg"]
    rfla = "test_cfg" in case
    spec: DenseSpec
    if "bbox_head.retina_cls.weight" in shapes:
        spec = _retinanet(shapes, rfla=rfla)
    elif "bbox_head.atss_cls.weight" in shapes:
        spec = _atss(shapes)
    elif "bbox_head.conv_cls.weight" in shapes:
        spec = _fcos(shapes, settings, rfla=rfla)
    else:
        return None
    caffe = settings.get("style", "caffe" if isinstance(spec, FCOSSpec) else "pytorch")
    post = rfla_postprocess(settings) if rfla else _published_postprocess(settings)
    backbone, neck = body(shapes, str(settings.get("fpn", "relu" if caffe == "caffe" else "")))
    spec = replace(spec, backbone=replace(backbone, style=caffe), neck=neck, postprocess=post)
    bias = next(
        shapes[f"bbox_head.{n}.bias"][0]
        for n in ("retina_cls", "atss_cls", "conv_cls")
        if f"bbox_head.{n}.bias" in shapes
    )
    per_cell = shapes["bbox_head.retina_reg.bias"][0] // 4 if "retina_cls" in str(shapes) else 1
    factors = case.get("multiplier") or case.get("weight_scale") or {}
    return ModelCase(spec, bias // per_cell, filled(shapes, factors))


def golden_outputs(arrays: Mapping[str, Array], num_classes: int) -> HeadOutputs:
    """The stored maps `cls<l>`, `reg<l>`, `ctr<l>` as one record."""
    logits = level_maps(arrays, "cls")
    ctrness = level_maps(arrays, "ctr")
    return HeadOutputs(
        logits=flatten_levels(logits, num_classes),
        boxes=flatten_levels(level_maps(arrays, "reg"), 4),
        ctrness=flatten_levels(ctrness, 1).squeeze(-1) if ctrness else None,
        level_sizes=tuple((m.shape[-2], m.shape[-1]) for m in logits),
    )


def level_maps(arrays: Mapping[str, Array], name: str) -> list[Tensor]:
    """The arrays `<name>0`, `<name>1`, ... as tensors."""
    keys = sorted(
        (k for k in arrays if re.fullmatch(rf"{name}\d+", k)), key=lambda k: int(k[len(name) :])
    )
    return [torch.from_numpy(arrays[k]) for k in keys]


def unmatched(boxes: Array, scores: Array, labels: Array, *, expected: tuple[Array, Array, Array],
              pixels: float, score: float) -> int:  # fmt: skip
    """How many expected detections have no partner of their own among the found ones."""
    missing = 0
    for label in np.unique(expected[2]):
        theirs = np.flatnonzero(expected[2] == label)
        ours = np.flatnonzero(labels == label)
        near = np.abs(expected[0][theirs, None] - boxes[None, ours]).max(-1, initial=0) <= pixels
        near &= np.abs(expected[1][theirs, None] - scores[None, ours]) <= score
        free = np.ones(len(ours), bool)
        for row in near:
            partner = np.flatnonzero(row & free)
            missing += len(partner) == 0
            free[partner[:1]] = False
    return missing


def body(shapes: Mapping[str, Sequence[int]], text: str) -> tuple[BackboneSpec, FPNSpec]:
    """Backbone and neck from the shapes of their parameters."""
    blocks = tuple(
        len({n.split(".")[2] for n in shapes if n.startswith(f"backbone.layer{s}.")})
        for s in (1, 2, 3, 4)
    )
    bottleneck = "backbone.layer1.0.conv3.weight" in shapes
    laterals = sum(n.startswith("neck.lateral_convs.") and n.endswith("weight") for n in shapes)
    convs = sum(n.startswith("neck.fpn_convs.") and n.endswith("weight") for n in shapes)
    width = shapes["neck.lateral_convs.0.conv.weight"][0]
    on_input = False
    if convs > laterals:
        on_input = shapes[f"neck.fpn_convs.{laterals}.conv.weight"][1] != width
    neck = FPNSpec(
        out_channels=width,
        start_level=4 - laterals,
        num_outs=convs,
        extra="on_input" if on_input else "on_output",
        relu_before_extra="relu" in text and "no relu" not in text,
    )
    return BackboneSpec(name=RESNETS[bottleneck, blocks], freeze_bn=True), neck


def _depth(shapes: Mapping[str, Sequence[int]]) -> int:
    names = {n.split(".")[2] for n in shapes if n.startswith("bbox_head.cls_convs.")}
    return len(names)


def pyramid_strides(shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """Pixels per cell of each level, from the parameters of the neck."""
    laterals = sum(n.startswith("neck.lateral_convs.") and n.endswith("weight") for n in shapes)
    convs = sum(n.startswith("neck.fpn_convs.") and n.endswith("weight") for n in shapes)
    pooled = int("rpn_head.rpn_conv.weight" in shapes)  # a level without parameters
    return tuple(2 ** (2 + 4 - laterals + level) for level in range(convs + pooled))


def _retinanet(shapes: Mapping[str, Sequence[int]], *, rfla: bool) -> RetinaNetSpec:
    strides = pyramid_strides(shapes)
    return RetinaNetSpec(
        head=RetinaHeadSpec(
            channels=shapes["bbox_head.retina_cls.weight"][1], num_convs=_depth(shapes)
        ),
        priors=receptive_fields(strides, anchors=True) if rfla else Anchors(strides=strides),
    )


def _atss(shapes: Mapping[str, Sequence[int]]) -> ATSSSpec:
    return ATSSSpec(
        head=ATSSHeadSpec(
            channels=shapes["bbox_head.atss_cls.weight"][1], num_convs=_depth(shapes)
        ),
        priors=Anchors(
            strides=pyramid_strides(shapes), ratios=(1.0,), octave_base_scale=8, scales_per_octave=1
        ),
        coder=DeltaCoder(std=(0.1, 0.1, 0.2, 0.2)),
    )


def _fcos(
    shapes: Mapping[str, Sequence[int]], settings: Mapping[str, Any], *, rfla: bool
) -> FCOSSpec:
    strides = pyramid_strides(shapes)
    return FCOSSpec(
        head=FCOSHeadSpec(
            channels=shapes["bbox_head.conv_cls.weight"][1],
            num_convs=_depth(shapes),
            norm="gn" if "bbox_head.cls_convs.0.gn.weight" in shapes else "none",
            conv_bias="bbox_head.cls_convs.0.conv.bias" in shapes,
            ctrness_on="reg" if settings.get("centerness_on_reg", rfla) else "cls",
            distances="relu_stride" if settings.get("norm_on_bbox", rfla) else "exp",
        ),
        priors=receptive_fields(strides, anchors=False)
        if rfla
        else Points(strides=strides, offset=settings.get("point_offset", 0.5)),
    )


def _published_postprocess(settings: Mapping[str, Any]) -> Postprocess:
    return Postprocess(
        pre_nms=settings["nms_pre"],
        score_thresh=settings["score_thr"],
        nms_iou=settings["nms_iou"],
        max_per_image=settings["max_per_img"],
        min_box_size=settings["min_bbox_size"],
    )
