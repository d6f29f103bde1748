"""AutoAssign rebuilt from what golden cases say about it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from golden_detectors import body, filled, pyramid_strides, tiny
from motedet.assign import Hierarchical
from motedet.losses import GIoULoss
from motedet.models.detectors import AutoAssign, AutoAssignSpec
from motedet.models.heads import AutoAssignHeadSpec
from motedet.models.postprocess import Postprocess
from motedet.priors import AnyPriors, Points, ReceptiveFields


def tiny_autoassign(case: Mapping[str, Any]) -> AutoAssignSpec:
    """The detector of a case of `autoassign/losses.json`."""
    backbone, neck = tiny(case["strides"])
    return AutoAssignSpec(
        backbone=backbone,
        neck=neck,
        head=AutoAssignHeadSpec(channels=8, num_convs=0, groups=1),
        priors=Points(strides=tuple(case["strides"]), offset=case["point_offset"]),
        force_topk=case["topk"] if case["force_topk"] else None,
        box_loss=GIoULoss(weight=case["giou_loss_weight"]),
        pos_weight=case["pos_loss_weight"],
        neg_weight=case["neg_loss_weight"],
        center_weight=case["center_loss_weight"],
    )


def tiny_rfla_autoassign(strides: Sequence[int]) -> AutoAssignSpec:
    """The detector of `autoassign_rfla` in `rfla/losses.json`: the released code's oddities."""
    backbone, neck = tiny(strides)
    priors: AnyPriors = ReceptiveFields(strides=tuple(strides), start_level="p3", offset=0.0)
    return AutoAssignSpec(
        backbone=backbone,
        neck=neck,
        head=AutoAssignHeadSpec(channels=8, num_convs=0, groups=1),
        priors=priors,
        bag=Hierarchical(topk=(4, 1), shared_priors=True),
        bag_rule="published",
    )


def set_center_prior(detector: AutoAssign, mean: Tensor, sigma: Tensor) -> None:
    """Give the centre prior its values."""
    with torch.no_grad():
        detector.bbox_head.center_prior.mean.copy_(mean)
        detector.bbox_head.center_prior.sigma.copy_(sigma)


def autoassign_model(case: Mapping[str, Any]) -> tuple[AutoAssignSpec, int, dict[str, Tensor]]:
    """Spec, number of classes and checkpoint of a whole-model case."""
    shapes: dict[str, list[int]] = case["state_dict"]
    settings = case["settings"]
    backbone, neck = body(shapes, settings["fpn"])
    strides = pyramid_strides(shapes)
    depth = len({n.split(".")[2] for n in shapes if n.startswith("bbox_head.cls_convs.")})
    spec = AutoAssignSpec(
        backbone=replace(backbone, style=settings["style"]),
        neck=neck,
        head=AutoAssignHeadSpec(channels=shapes["bbox_head.conv_cls.weight"][1], num_convs=depth),
        priors=Points(strides=strides, offset=settings["point_offset"]),
        postprocess=Postprocess(
            pre_nms=settings["nms_pre"],
            score_thresh=settings["score_thr"],
            nms_iou=settings["nms_iou"],
            max_per_image=settings["max_per_img"],
            min_box_size=settings["min_bbox_size"],
        ),
    )
    factors = case.get("multiplier") or {}
    return spec, shapes["bbox_head.conv_cls.bias"][0], filled(shapes, factors)
