"""Gaussian Assignment's golden cases: the five models, their weights and their outputs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden_files import fill, load_json
from motedet.assign import GaussianAssigner
from motedet.geometry import DeltaCoder
from motedet.losses import GIoULoss, HeatmapFocalLoss
from motedet.models.backbones import BackboneSpec, DarkNetSpec, MiTSpec
from motedet.models.dense import HeadOutputs
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
from motedet.models.necks import FuseNeckSpec, UpsamplingNeckSpec
from motedet.models.necks.fpn import flatten_levels
from motedet.models.postprocess import Postprocess
from motedet.priors import Anchors, Points

Spec = TTFNetSpec | RetinaNetSpec | FCOSSpec | ATSSSpec
Array = NDArray[Any]
Shapes = dict[str, tuple[int, ...]]

FOLDER: Final = "gaussian_assignment"
STRIDE: Final = 4
NUM_CLASSES: Final = 8

# With all weights drawn alike the residual blocks would grow to 1e4 and the sampling offsets of the
# deformable convolutions leave the map, so that nothing would be tested.
FACTORS: Final = {".body.1.bn.weight": 0.1, ".conv_offset.weight": 0.5}


def small_specs() -> dict[str, Spec]:
    """The five models with the smallest body that there is."""
    backbone, neck = BackboneSpec(name="resnet18", out_stages=(1,)), FuseNeckSpec(out_channels=8)
    deltas = SlimHeadSpec(boxes="deltas")
    anchors = Anchors(strides=(STRIDE,), ratios=(1.0,), octave_base_scale=3, scales_per_octave=1)
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
            priors=Points(strides=(STRIDE,)),
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


SPECS: Final = small_specs()


def published_spec(model: str) -> Spec:
    """One of the five with its own backbone and neck."""
    if model == "ttfnet_mitb1_ga":
        return replace(SPECS[model], backbone=MiTSpec(), neck=FuseNeckSpec())
    return replace(SPECS[model], backbone=DarkNetSpec(freeze_stem=True), neck=UpsamplingNeckSpec())


@cache
def small_detector(model: str) -> TTFNet | RetinaNet | FCOS | ATSSDetector:
    """One of the five, of whose weights nothing is used."""
    return SPECS[model].build(NUM_CLASSES)


def published_shapes(model: str) -> Shapes:
    """Names and shapes of the reference's state dict."""
    return {n: tuple(s) for n, s in load_json(FOLDER, f"{model}_manifest.json").items()}


def num_parameters(shapes: Mapping[str, Sequence[int]]) -> int:
    """How many numbers learn, among the entries of a state dict."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(math.prod(s) for n, s in shapes.items() if not n.endswith(statistics))


def published_state(model: str) -> dict[str, Tensor]:
    """The reference's state dict, its values by rule; nobody may change them."""
    return {name: _filled(name, shape) for name, shape in published_shapes(model).items()}


_rule = cache(fill)


@cache  # four of the models share nearly all entries
def _filled(name: str, shape: tuple[int, ...]) -> Tensor:
    value = _rule()(name, shape)
    for ending, factor in FACTORS.items():
        if name.endswith(ending):
            value *= np.float32(factor)
    return torch.from_numpy(value)


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


def published_maps(model: str, outputs: HeadOutputs) -> list[Tensor]:
    """What our heads give as the maps `out0`, `out1`, ... [B, C, h, w] of the reference."""
    boxes, quality = outputs.boxes, outputs.ctrness
    if not model.startswith(("retinanet", "atss")):
        boxes = boxes * STRIDE
    tables = [outputs.logits, boxes]  # [B, P, C]
    if quality is not None and model.startswith("ttfnet"):
        tables = [outputs.logits, torch.cat((boxes, quality.sigmoid()[..., None]), dim=-1)]
    elif quality is not None:
        tables.append(quality[..., None])
    h, w = outputs.level_sizes[0]
    return [table.transpose(1, 2).reshape(len(table), -1, h, w) for table in tables]
