"""Losses without parameters: values that are called, and their own configuration.

None of them reduces; heads sum and normalise. The unions say what a loss compares:

- `AnyClassLoss`: logits [N, K] and labels [N] to [N, K];
- `AnyDenseClassLoss`: the same, and the quality focal loss also qualities [N];
- `HeatmapFocalLoss`, in no union: logits [N, K] and heat [N, K] to [N, K];
- `AnyDeltaLoss`: encoded boxes [N, 4] and [N, 4] to [N, 4];
- `AnyBoxLoss`: decoded boxes [N, 4] and [N, 4], xyxy in pixels, to [N].
"""

from typing import Annotated

from pydantic import Field

from motedet.losses.bce import BCELoss
from motedet.losses.focal import FocalLoss
from motedet.losses.heatmap_focal import HeatmapFocalLoss
from motedet.losses.iou import CIoULoss, DIoULoss, GIoULoss, IoULoss
from motedet.losses.nwd import NWDLoss
from motedet.losses.quality_focal import QualityFocalLoss
from motedet.losses.smooth_l1 import L1Loss, SmoothL1Loss

AnyClassLoss = Annotated[FocalLoss | BCELoss, Field(discriminator="kind")]
AnyDenseClassLoss = Annotated[FocalLoss | QualityFocalLoss, Field(discriminator="kind")]
AnyDeltaLoss = Annotated[L1Loss | SmoothL1Loss, Field(discriminator="kind")]
AnyBoxLoss = Annotated[
    IoULoss | GIoULoss | DIoULoss | CIoULoss | NWDLoss, Field(discriminator="kind")
]

__all__ = [
    "AnyBoxLoss",
    "AnyClassLoss",
    "AnyDeltaLoss",
    "AnyDenseClassLoss",
    "BCELoss",
    "CIoULoss",
    "DIoULoss",
    "FocalLoss",
    "GIoULoss",
    "HeatmapFocalLoss",
    "IoULoss",
    "L1Loss",
    "NWDLoss",
    "QualityFocalLoss",
    "SmoothL1Loss",
]
