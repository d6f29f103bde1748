"""What the exporter writes for operators that it does not know, or does not write in full."""

from collections.abc import Callable
from typing import Any

import torch
import torchvision  # noqa: F401 - registers its operators
from onnxscript import INT64, opset18
from onnxscript.onnx_types import FLOAT

from motedet.export.suppression import FLOOR

op: Any = opset18  # whose types do not know what a constant is

Operators = dict[Callable[..., Any], Callable[..., Any]]


def suppress(boxes: FLOAT, scores: FLOAT, nms_iou: float, max_per_image: int) -> INT64:
    """`motedet::suppress`: all boxes of an image are of one class for ONNX."""
    kept: INT64 = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, op.Constant(value_ints=[1])),  # [B, 1, N]
        op.Constant(value_ints=[max_per_image]),
        op.Constant(value_floats=[nms_iou]),
        op.Constant(value_floats=[FLOOR]),
    )
    return kept


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
        torch.ops.torchvision.roi_align.default: roi_align,
    }
