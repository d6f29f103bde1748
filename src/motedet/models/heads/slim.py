"""The slim head of Gaussian Assignment (Zhang et al. 2024, IEEE TGRS 62), for a single level.

It is TTFNet's (Liu et al. 2020, arXiv:1909.00700) with a third branch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from motedet.errors import RecipeError
from motedet.models.dense import HeadOutputs
from motedet.models.heads.tower import PRIOR_PROB, tower

SlimBoxes = Literal["relu_stride", "deltas"]


class SlimHead(nn.Module):
    """Class logits, boxes and perhaps a quality of every cell, from two short towers."""

    def __init__(self, spec: "SlimHeadSpec", in_channels: int, *, num_classes: int) -> None:
        super().__init__()
        depth = spec.num_convs
        self._spec = spec
        self.cls_convs = tower(in_channels, spec.cls_channels, depth=depth, bias=True, groups=0)
        self.reg_convs = tower(in_channels, spec.box_channels, depth=depth, bias=True, groups=0)
        cls_width = spec.cls_channels if depth else in_channels
        box_width = spec.box_channels if depth else in_channels
        bias = -math.log((1 - PRIOR_PROB) / PRIOR_PROB)
        self.hm = _pixelwise(cls_width, num_classes, std=0.01, bias=bias)
        self.wh = _pixelwise(box_width, 4, std=0.001, bias=spec.first_reach)
        self.iou = nn.Sequential(nn.Conv2d(box_width, 1, 1)) if spec.quality else None
        for module in (*self.cls_convs.modules(), *self.reg_convs.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Sequence[Tensor]) -> HeadOutputs:
        """Logits, boxes (in the unit of `SlimHeadSpec.boxes`) and quality logits as centre-ness.

        Args:
            features: a single [B, C, h, w].
        """
        (feature,) = features
        cls, reg = self.cls_convs(feature), self.reg_convs(feature)
        raw = _cell_by_cell(self.wh(reg))  # [B, P, 4]
        return HeadOutputs(
            logits=_cell_by_cell(self.hm(cls)),  # [B, P, K]
            boxes=raw.relu() if self._spec.in_strides else raw,
            ctrness=None if self.iou is None else _cell_by_cell(self.iou(reg)).squeeze(-1),
            level_sizes=((feature.shape[-2], feature.shape[-1]),),
        )


@dataclass(frozen=True, kw_only=True)
class SlimHeadSpec:
    """The towers' size and what comes out of them.

    Attributes:
        cls_channels: of the convolutions of the class tower.
        box_channels: of those of the box tower.
        num_convs: per tower.
        boxes: "relu_stride": distances to the four sides, relu(conv) in strides (TTFNet, FCOS);
            "deltas": as they come (RetinaNet, ATSS).
        quality: whether there is a third branch, on the box tower: the IoU in TTFNet, the
            centre-ness in FCOS and ATSS, nothing in RetinaNet.
        first_reach: distances that an untrained head predicts, in strides. As published they are 0,
            where the ReLU may pass no gradient to a side anywhere, so that it never grows; training
            from such a start is safer with 1.0. Deltas have none.
    """

    kind: Literal["slim"] = "slim"
    cls_channels: int = 128
    box_channels: int = 64
    num_convs: int = 2
    boxes: SlimBoxes = "relu_stride"
    quality: bool = True
    first_reach: float = 0.0

    def __post_init__(self) -> None:
        """Reject towers without channels."""
        if min(self.cls_channels, self.box_channels) < 1 or self.num_convs < 0:
            raise ValueError(
                "cls_channels and box_channels must be at least 1 and num_convs at least 0; got "
                f"{self.cls_channels}, {self.box_channels} and {self.num_convs}."
            )
        if self.first_reach < 0 or (self.first_reach > 0 and not self.in_strides):
            raise ValueError(
                "first_reach must not be negative, and 0 with boxes 'deltas'; "
                f"got {self.first_reach} with boxes {self.boxes!r}."
            )

    @property
    def in_strides(self) -> bool:
        """Whether the boxes are distances in strides."""
        return self.boxes == "relu_stride"

    def build(
        self, in_channels: int, *, num_classes: int, num_levels: int = 1, per_cell: int = 1
    ) -> SlimHead:
        """The module for one level and one prior per cell.

        Raises:
            RecipeError: if there are more.
        """
        if num_levels != 1 or per_cell != 1:
            raise RecipeError(
                "The slim head predicts one box per cell of one level; "
                f"got {num_levels} levels and {per_cell} priors per cell. "
                "Use the neck upsample or fuse and priors of one stride, or another head."
            )
        head = SlimHead(self, in_channels, num_classes=num_classes)
        return head.to(memory_format=torch.channels_last)


def check_slim(head: object, *, boxes: SlimBoxes, quality: bool | None = None) -> None:
    """Refuse a slim head that predicts something else than its detector reads.

    Args:
        head: the spec of any head.
        boxes: what the detector reads.
        quality: whether it reads a third branch; None if it does where there is one.

    Raises:
        ValueError: if that is not what the head gives.
    """
    if not isinstance(head, SlimHeadSpec):
        return
    if head.boxes != boxes:
        raise ValueError(f"this detector needs head.boxes {boxes!r}; got {head.boxes!r}.")
    if quality is not None and head.quality != quality:
        raise ValueError(f"this detector needs head.quality {quality}; got {head.quality}.")


def _cell_by_cell(values: Tensor) -> Tensor:
    """[B, C, h, w] as [B, h * w, C], in float32 or better."""
    rows = values.flatten(2).transpose(1, 2)
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _pixelwise(in_channels: int, out_channels: int, *, std: float, bias: float) -> nn.Sequential:
    """A 1x1 convolution, under the name `0`."""
    conv = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.normal_(conv.weight, std=std)
    nn.init.constant_(conv.bias, bias)  # type: ignore[arg-type]
    return nn.Sequential(conv)
