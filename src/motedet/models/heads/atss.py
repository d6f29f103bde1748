"""The head of ATSS (Zhang et al. 2020, arXiv:1912.02424)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from motedet.models.dense import HeadOutputs
from motedet.models.heads.tower import PRIOR_PROB, predictor, scales, tower
from motedet.models.necks.fpn import flatten_levels


class ATSSHead(nn.Module):
    """Class logits, deltas and centre-ness of one anchor per cell."""

    def __init__(
        self, spec: "ATSSHeadSpec", in_channels: int, *, num_classes: int, num_levels: int
    ) -> None:
        super().__init__()
        width, depth = spec.channels, spec.num_convs
        self._num_classes = num_classes
        self.cls_convs = tower(in_channels, width, depth=depth, bias=False, groups=spec.groups)
        self.reg_convs = tower(in_channels, width, depth=depth, bias=False, groups=spec.groups)
        last = width if depth else in_channels
        self.atss_cls = predictor(last, num_classes, prob=PRIOR_PROB)
        self.atss_reg = predictor(last, 4)
        self.atss_centerness = predictor(last, 1)
        self.scales = scales(num_levels)

    def forward(self, features: Sequence[Tensor]) -> HeadOutputs:
        """Logits, deltas and centre-ness logits of every anchor.

        Args:
            features: one [B, C, h, w] per level.
        """
        logits, deltas, ctrness = [], [], []
        for feature, scale in zip(features, self.scales, strict=True):
            cls, reg = self.cls_convs(feature), self.reg_convs(feature)
            logits.append(self.atss_cls(cls))  # [B, K, h, w]
            deltas.append(self.atss_reg(reg) * scale.get_parameter("scale"))  # [B, 4, h, w]
            ctrness.append(self.atss_centerness(reg))  # [B, 1, h, w]
        return HeadOutputs(
            logits=flatten_levels(logits, self._num_classes),
            boxes=flatten_levels(deltas, 4),
            ctrness=flatten_levels(ctrness, 1).squeeze(-1),
            level_sizes=tuple((f.shape[-2], f.shape[-1]) for f in features),
        )


@dataclass(frozen=True, kw_only=True)
class ATSSHeadSpec:
    """The towers' size.

    Attributes:
        channels: of the tower convolutions.
        num_convs: per tower.
        groups: of the group norms.
    """

    kind: Literal["atss"] = "atss"
    channels: int = 256
    num_convs: int = 4
    groups: int = 32

    def __post_init__(self) -> None:
        """Check that the groups divide the channels."""
        if self.groups < 1 or self.channels % self.groups:
            raise ValueError(f"channels={self.channels} is not a multiple of groups={self.groups}.")

    def build(self, in_channels: int, *, num_classes: int, num_levels: int) -> ATSSHead:
        """The module for `num_levels` levels."""
        head = ATSSHead(self, in_channels, num_classes=num_classes, num_levels=num_levels)
        return head.to(memory_format=torch.channels_last)
