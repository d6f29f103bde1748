"""The head of FCOS (Tian et al. 2019, arXiv:1904.01355) and its later variants."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from motedet.models.dense import HeadOutputs
from motedet.models.heads.tower import PRIOR_PROB, predictor, scales, tower
from motedet.models.necks.fpn import flatten_levels

MAX_EXPONENT: Final = 10.0  # exp(10) = 22,026 px: beyond any image, short of overflow

Distances = Literal["exp", "exp_stride", "relu_stride"]


class FCOSHead(nn.Module):
    """Class logits, distances to the four sides and centre-ness of every point."""

    def __init__(
        self, spec: "FCOSHeadSpec", in_channels: int, *, num_classes: int, num_levels: int
    ) -> None:
        super().__init__()
        width, depth, bias = spec.channels, spec.num_convs, spec.conv_bias
        groups = spec.groups if spec.norm == "gn" else 0
        self._spec = spec
        self._num_classes = num_classes
        self.cls_convs = tower(in_channels, width, depth=depth, bias=bias, groups=groups)
        self.reg_convs = tower(in_channels, width, depth=depth, bias=bias, groups=groups)
        last = width if depth else in_channels
        self.conv_cls = predictor(last, num_classes, prob=PRIOR_PROB)
        self.conv_reg = predictor(last, 4)
        self.conv_centerness = predictor(last, 1) if spec.ctrness_on != "none" else None
        self.scales = scales(num_levels)

    def forward(self, features: Sequence[Tensor]) -> HeadOutputs:
        """Logits, distances (in the unit of `FCOSHeadSpec.distances`) and centre-ness logits.

        Args:
            features: one [B, C, h, w] per level.
        """
        logits, distances, ctrness = [], [], []
        for feature, scale in zip(features, self.scales, strict=True):
            cls, reg = self.cls_convs(feature), self.reg_convs(feature)
            logits.append(self.conv_cls(cls))  # [B, K, h, w]
            distances.append(self.conv_reg(reg) * scale.get_parameter("scale"))  # [B, 4, h, w]
            if self.conv_centerness is not None:
                source = reg if self._spec.ctrness_on == "reg" else cls
                ctrness.append(self.conv_centerness(source))  # [B, 1, h, w]
        raw = flatten_levels(distances, 4)  # [B, P, 4]
        relu = self._spec.distances == "relu_stride"
        return HeadOutputs(
            logits=flatten_levels(logits, self._num_classes),
            boxes=raw.relu() if relu else raw.clamp(max=MAX_EXPONENT).exp(),
            ctrness=flatten_levels(ctrness, 1).squeeze(-1) if ctrness else None,
            level_sizes=tuple((f.shape[-2], f.shape[-1]) for f in features),
        )


@dataclass(frozen=True, kw_only=True)
class FCOSHeadSpec:
    """The towers' size and what comes out of them.

    Attributes:
        channels: of the tower convolutions.
        num_convs: per tower.
        norm: "gn" is group norm with `groups` groups.
        conv_bias: whether the tower convolutions have a bias.
        ctrness_on: which tower feeds the centre-ness; "none" leaves it out.
        distances: "exp": exp(scale * conv) in pixels, as first published; "relu_stride":
            relu(scale * conv) in strides (published as `norm_on_bbox`; it can die at zero);
            "exp_stride": exp(scale * conv) in strides.
    """

    kind: Literal["fcos"] = "fcos"
    channels: int = 256
    num_convs: int = 4
    norm: Literal["gn", "none"] = "gn"
    groups: int = 32
    conv_bias: bool = False
    ctrness_on: Literal["cls", "reg", "none"] = "cls"
    distances: Distances = "exp"

    def __post_init__(self) -> None:
        """Check that the groups divide the channels."""
        if self.norm == "gn" and self.channels % self.groups:
            raise ValueError(f"channels={self.channels} is not a multiple of groups={self.groups}.")

    @property
    def in_strides(self) -> bool:
        """Whether the distances are in strides rather than pixels."""
        return self.distances != "exp"

    def build(self, in_channels: int, *, num_classes: int, num_levels: int) -> FCOSHead:
        """The module for `num_levels` levels."""
        head = FCOSHead(self, in_channels, num_classes=num_classes, num_levels=num_levels)
        return head.to(memory_format=torch.channels_last)
