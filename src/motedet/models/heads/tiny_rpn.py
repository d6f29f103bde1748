"""The proposal network of TinyDet (Chen et al. 2023, arXiv:2304.03428), sparsely connected."""

# ruff: noqa: RUF009 - the defaults are frozen dataclasses

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import nn

from motedet.assign import MaxIoU, PlainAssigner
from motedet.losses import AnyBoxLoss, AnyDeltaLoss, SmoothL1Loss
from motedet.models.heads.rpn import RPN, RPNSpec
from motedet.models.necks.tiny_fpn import sparse_conv
from motedet.models.proposals import Proposals
from motedet.priors import AnyPriors
from motedet.priors.rounded_anchors import RoundedAnchors


class TinyRPN(RPN):
    """A proposal network whose shared 3x3 convolution is depthwise, then 1x1 in groups."""

    def __init__(self, spec: "TinyRPNSpec", in_channels: int) -> None:
        super().__init__(spec, in_channels)
        init = partial(nn.init.normal_, std=0.01)
        conv = sparse_conv(in_channels, spec.channels, groups=spec.groups, init=init)
        self.add_module("rpn_conv", conv)


@dataclass(frozen=True, kw_only=True)
class TinyRPNSpec(RPNSpec):
    """The proposal network as published for TinyDet-S; priors differ in M and L.

    Attributes:
        groups: of the 1x1 convolution.
        allowed_border: the published rule, that an anchor must not reach out of the image, is half
            a pixel for anchors of whole pixels: a limit on the right and below is exclusive.
    """

    kind: Literal["tiny_rpn"] = "tiny_rpn"
    channels: int = 245
    groups: int = 49
    priors: AnyPriors = cast("AnyPriors", RoundedAnchors())
    assigner: PlainAssigner = MaxIoU(pos_iou=0.5, neg_iou=0.3, min_pos_iou=0.3)
    allowed_border: float | None = 0.5
    box_loss: Annotated[AnyDeltaLoss | AnyBoxLoss, Field(discriminator="kind")] = SmoothL1Loss(
        beta=1 / 9
    )
    train_proposals: Proposals = Proposals(pre_nms=2000, max_per_image=2000, min_box_size=-1.0)
    test_proposals: Proposals = Proposals(pre_nms=1000, max_per_image=200, min_box_size=-1.0)

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        if self.groups < 1 or self.channels % self.groups:
            raise ValueError(
                f"groups must divide channels={self.channels}; got {self.groups} groups."
            )

    def build(self, in_channels: int) -> TinyRPN:
        """The module for features with `in_channels`, a multiple of `groups`."""
        return TinyRPN(self, in_channels).to(memory_format=torch.channels_last)
