"""Two-stage detectors rebuilt from what golden cases say about them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from golden_detectors import body, filled, pyramid_strides, receptive_fields, rfla_assigner
from motedet.losses import L1Loss, SmoothL1Loss
from motedet.models.detectors import CascadeRCNNSpec, FasterRCNNSpec
from motedet.models.heads import BoxHeadSpec, RPNSpec
from motedet.models.postprocess import Suppression
from motedet.models.proposals import Proposals

TwoStageSpec = FasterRCNNSpec | CascadeRCNNSpec


@dataclass(frozen=True)
class TwoStageCase:
    """One whole-model case of a two-stage detector."""

    spec: TwoStageSpec
    num_classes: int
    state: dict[str, Tensor]


def two_stage_case(case: Mapping[str, Any]) -> TwoStageCase:
    """A whole-model case with a proposal network, of either folder."""
    shapes: dict[str, list[int]] = case["state_dict"]
    settings = case.get("settings") or case["test_cfg"]
    strides, rfla = pyramid_strides(shapes), "test_cfg" in case
    prefix = "roi_head.bbox_head."
    num_stages = len({n[len(prefix)] for n in shapes if re.match(rf"{prefix}\d", n)})
    first = f"{prefix}0." if num_stages else prefix
    rpn = tiny_rpn(strides, cascade=num_stages > 0) if rfla else RPNSpec()
    rules = settings.get("rpn", {"nms_pre": 3000, "nms_iou": 0.7, "max_per_img": 3000})
    proposals = Proposals(
        pre_nms=rules["nms_pre"],
        nms_iou=rules["nms_iou"],
        max_per_image=rules["max_per_img"],
        min_box_size=rules.get("min_bbox_size", -1.0),
    )
    rules = settings["rcnn"]
    backbone, neck = body(shapes, "")
    parts: dict[str, Any] = {
        "backbone": backbone,
        "neck": replace(neck, num_outs=len(strides), extra="pool"),
        "rpn": replace(rpn, channels=shapes["rpn_head.rpn_conv.bias"][0], test_proposals=proposals),
        "head": BoxHeadSpec(
            channels=shapes[f"{first}fc_cls.weight"][1],
            num_fcs=sum(n.startswith(f"{first}shared_fcs") for n in shapes) // 2,
            class_agnostic=shapes[f"{first}fc_reg.bias"][0] == 4,
        ),
        "postprocess": Suppression(
            score_thresh=rules["score_thr"],
            nms_iou=rules["nms_iou"],
            max_per_image=rules["max_per_img"],
            min_box_size=-1.0,
        ),
    }
    spec = CascadeRCNNSpec(**parts) if num_stages else FasterRCNNSpec(**parts)
    factors = case.get("multiplier") or case.get("weight_scale") or {}
    num_classes = shapes[f"{first}fc_cls.bias"][0] - 1  # the background is one more
    return TwoStageCase(spec, num_classes, filled(shapes, factors))


def tiny_rpn(strides: Sequence[int], *, cascade: bool) -> RPNSpec:
    """The proposal network of RFLA's Faster R-CNN, or of its Cascade R-CNN."""
    return RPNSpec(
        channels=8,
        priors=receptive_fields(strides, anchors=True),
        assigner=rfla_assigner(shared=False),
        allowed_border=0 if cascade else None,
        box_loss=SmoothL1Loss(beta=1 / 9) if cascade else L1Loss(),
        target_prior_ratio=0.9,
    )
