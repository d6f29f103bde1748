"""What the exporter writes for operators that it does not know, or does not write in full."""

from collections.abc import Callable
from typing import Any

import torch
import torchvision  # noqa: F401 - registers its operators
from onnxscript import INT64
from onnxscript.onnx_types import FLOAT

from motedet.export.rounds import GAUSSIAN, LINEAR, SIMILAR, in_rounds, op
from motedet.export.suppression import FLOOR

Operators = dict[Callable[..., Any], Callable[..., Any]]


def suppress(boxes: FLOAT, scores: FLOAT, nms_iou: float, max_per_image: int) -> INT64:
    """`motedet::suppress`: all boxes of an image are of one class for ONNX."""
    kept = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, op.Constant(value_ints=[1])),  # [B, 1, N]
        op.Constant(value_ints=[max_per_image]),
        op.Constant(value_floats=[nms_iou]),
        op.Constant(value_floats=[FLOOR]),
    )  # [S, 3] image, class, place
    rows: INT64 = op.Gather(kept, op.Constant(value_ints=[0, 2]), axis=1)
    return rows


def suppress_similar(
    boxes: FLOAT, scores: FLOAT, nms_nwd: float, nwd_constant: float, max_per_image: int
) -> INT64:
    """`motedet::suppress_similar`."""
    labels = op.ConstantOfShape(op.Shape(scores))  # [B, N]
    kept, _ = in_rounds(
        SIMILAR, (boxes, scores, labels), max_per_image, FLOOR, (nms_nwd, nwd_constant)
    )
    return kept


def soften(
    boxes: FLOAT,
    scores: FLOAT,
    labels: INT64,
    nms_iou: float,
    max_per_image: int,
    method: str,
    sigma: float,
    min_score: float,
) -> tuple[INT64, FLOAT]:
    """`motedet::soften`."""
    loop = LINEAR if method == "linear" else GAUSSIAN
    return in_rounds(loop, (boxes, scores, labels), max_per_image, min_score, (nms_iou, sigma))


def roi_align(
    features: FLOAT,
    rois: FLOAT,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> FLOAT:
    """`torchvision::roi_align`; the exporter's own forgets the sampling ratio."""
    image = op.Cast(op.Gather(rois, op.Constant(value_int=0), axis=1), to=7)  # int64, [R]
    boxes = op.Gather(rois, op.Constant(value_ints=[1, 2, 3, 4]), axis=1)  # [R, 4]
    pooled: FLOAT = op.RoiAlign(
        features,
        boxes,
        image,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        output_height=pooled_height,
        output_width=pooled_width,
        sampling_ratio=max(sampling_ratio, 0),
        spatial_scale=spatial_scale,
    )
    return pooled


def translations() -> Operators:
    """By operator."""
    return {
        torch.ops.motedet.suppress.default: suppress,
        torch.ops.motedet.suppress_similar.default: suppress_similar,
        torch.ops.motedet.soften.default: soften,
        torch.ops.torchvision.roi_align.default: roi_align,
    }
