"""The head of RetinaNet (Lin et al. 2017, arXiv:1708.02002)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from motedet.models.dense import HeadOutputs
from motedet.models.heads.tower import PRIOR_PROB, predictor, tower
from motedet.models.necks.fpn import flatten_levels


class RetinaHead(nn.Module):
    """Two towers shared by all levels: class logits and deltas of every anchor."""

    def __init__(
        self, spec: "RetinaHeadSpec", in_channels: int, *, num_classes: int, per_cell: int
    ) -> None:
        super().__init__()
        width, depth = spec.channels, spec.num_convs
        self._num_classes = num_classes
        self.cls_convs = tower(in_channels, width, depth=depth, bias=True, groups=0)
        self.reg_convs = tower(in_channels, width, depth=depth, bias=True, groups=0)
        last = width if depth else in_channels
        self.retina_cls = predictor(last, per_cell * num_classes, prob=PRIOR_PROB)
        self.retina_reg = predictor(last, per_cell * 4)

    def forward(self, features: Sequence[Tensor]) -> HeadOutputs:
        """Logits and deltas of every anchor.

        Args:
            features: one [B, C, h, w] per level.
        """
        logits, deltas = [], []
        for feature in features:
            cls, reg = self.cls_convs(feature), self.reg_convs(feature)
            logits.append(self.retina_cls(cls))  # [B, A * K, h, w]
            deltas.append(self.retina_reg(reg))  # [B, A * 4, h, w]
        return HeadOutputs(
            logits=flatten_levels(logits, self._num_classes),
            boxes=flatten_levels(deltas, 4),
            ctrness=None,
            level_sizes=tuple((f.shape[-2], f.shape[-1]) for f in features),
        )


@dataclass(frozen=True, kw_only=True)
class RetinaHeadSpec:
    """The towers' size.

    Attributes:
        channels: of the tower convolutions.
        num_convs: per tower.
    """

    kind: Literal["retina"] = "retina"
    channels: int = 256
    num_convs: int = 4

    def build(self, in_channels: int, *, num_classes: int, per_cell: int) -> RetinaHead:
        """The module for `per_cell` anchors at every cell."""
        head = RetinaHead(self, in_channels, num_classes=num_classes, per_cell=per_cell)
        return head.to(memory_format=torch.channels_last)
