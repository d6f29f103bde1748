"""The head of AutoAssign (Zhu et al. 2020, arXiv:2007.03496)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from motedet.models.dense import HeadOutputs
from motedet.models.heads.tower import predictor, scales, tower
from motedet.models.necks.fpn import flatten_levels

PRIOR_PROB: Final = 0.02  # as published; other heads have 0.01
FIRST_REACH: Final = 4.0  # strides that an untrained box reaches each way


class CenterPrior(nn.Module):
    """Where in objects of each class the points lie that tell most, shared by all levels.

    Attributes:
        mean: [K, 2] (x, y) from the centre of an object, in strides.
        sigma: [K, 2] in strides.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(num_classes, 2))
        self.sigma = nn.Parameter(torch.ones(num_classes, 2))


class AutoAssignHead(nn.Module):
    """Class logits, distances to the four sides and an implicit objectness of every point."""

    def __init__(
        self,
        spec: "AutoAssignHeadSpec",
        in_channels: int,
        *,
        num_classes: int,
        strides: Sequence[int],
    ) -> None:
        super().__init__()
        width, depth = spec.channels, spec.num_convs
        self._num_classes = num_classes
        self._strides = tuple(strides)
        self.cls_convs = tower(in_channels, width, depth=depth, bias=True, groups=spec.groups)
        self.reg_convs = tower(in_channels, width, depth=depth, bias=True, groups=spec.groups)
        last = width if depth else in_channels
        self.conv_cls = predictor(last, num_classes, prob=PRIOR_PROB)
        self.conv_reg = predictor(last, 4)
        nn.init.constant_(self.conv_reg.bias, FIRST_REACH)  # type: ignore[arg-type]
        self.conv_centerness = predictor(last, 1)  # the objectness, under its published name
        self.scales = scales(len(self._strides))
        self.center_prior = CenterPrior(num_classes)

    def forward(self, features: Sequence[Tensor]) -> HeadOutputs:
        """Logits, distances in pixels and, as centre-ness, the logits of the objectness.

        Args:
            features: one [B, C, h, w] per level.
        """
        logits, distances, objectness = [], [], []
        for feature, scale, stride in zip(features, self.scales, self._strides, strict=True):
            cls, reg = self.cls_convs(feature), self.reg_convs(feature)
            logits.append(self.conv_cls(cls))  # [B, K, h, w]
            raw = self.conv_reg(reg) * scale.get_parameter("scale")  # [B, 4, h, w] in strides
            exact = raw.to(torch.promote_types(raw.dtype, torch.float32))
            distances.append(exact.relu() * stride)
            objectness.append(self.conv_centerness(reg))  # [B, 1, h, w]
        return HeadOutputs(
            logits=flatten_levels(logits, self._num_classes),
            boxes=flatten_levels(distances, 4),
            ctrness=flatten_levels(objectness, 1).squeeze(-1),
            level_sizes=tuple((f.shape[-2], f.shape[-1]) for f in features),
        )


@dataclass(frozen=True, kw_only=True)
class AutoAssignHeadSpec:
    """The towers' size.

    Attributes:
        channels: of the tower convolutions.
        num_convs: per tower.
        groups: of the group norms.
    """

    channels: int = 256
    num_convs: int = 4
    groups: int = 32

    def __post_init__(self) -> None:
        """Check that the groups divide the channels."""
        if self.groups < 1 or self.channels % self.groups:
            raise ValueError(f"channels={self.channels} is not a multiple of groups={self.groups}.")

    def build(
        self, in_channels: int, *, num_classes: int, strides: Sequence[int]
    ) -> AutoAssignHead:
        """The module for levels of these strides, in pixels."""
        head = AutoAssignHead(self, in_channels, num_classes=num_classes, strides=strides)
        return head.to(memory_format=torch.channels_last)
