"""Recursive feature pyramid (DetectoRS, Qiao et al. 2020, arXiv:2006.02334, section 3)."""

# ruff: noqa: RUF009 - the defaults are frozen dataclasses

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from motedet.errors import RecipeError
from motedet.models.backbones.detectors_resnet import DetectoRSResNet, DetectoRSResNetSpec
from motedet.models.necks.fpn import FPN, FPNSpec


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a map seen at several dilations, side by side.

    A dilation of 1 is a 1x1 convolution, any other a 3x3. The last one sees the average of the
    whole map.
    """

    def __init__(self, in_channels: int, out_channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.aspp = nn.ModuleList(_atrous(in_channels, out_channels, d) for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """The views, each rectified, in one map.

        Args:
            x: [B, in_channels, h, w].

        Returns:
            [B, out_channels * number of dilations, h, w].
        """
        *local, last = self.aspp
        views = [conv(x).relu() for conv in local]  # [B, out_channels, h, w] each
        whole = last(x.mean(dim=(2, 3), keepdim=True)).relu()  # [B, out_channels, 1, 1]
        return torch.cat([*views, whole.expand(-1, -1, *x.shape[-2:])], dim=1)


class RFP(FPN):
    """A feature pyramid that goes back through a second backbone, and is mixed with itself.

    The second backbone looks at the images with the pyramid in mind; the same laterals make a new
    pyramid of what it found, and a learned share of that replaces the old one (section 3.4).
    """

    def __init__(self, spec: "RFPSpec", in_channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__(spec.pyramid, in_channels, strides)
        if spec.steps == 1:  # nothing recurs, and nothing must learn in vain
            self.rfp_modules = nn.ModuleList()
            return
        channels = spec.aspp_channels * len(spec.aspp_dilations)
        self.rfp_modules = nn.ModuleList(
            spec.backbone.build(rfp_channels=channels) for _ in range(spec.steps - 1)
        )
        self.rfp_aspp = ASPP(spec.out_channels, spec.aspp_channels, spec.aspp_dilations)
        self.rfp_weight = nn.Conv2d(spec.out_channels, 1, 1)
        nn.init.zeros_(self.rfp_weight.weight)
        nn.init.zeros_(self.rfp_weight.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The pyramid after the last step, finest level first.

        Args:
            features: the images [B, 3, H, W], then C2..C5, each [B, C, h, w].

        Returns:
            `num_outs` maps [B, out_channels, h, w].

        Raises:
            RecipeError: if the backbone does not hand on the images.
        """
        images, *maps = features
        if len(maps) != len(self.lateral_convs):
            raise RecipeError(
                f"The recursive pyramid needs the images and {len(self.lateral_convs)} maps; got "
                f"{len(features)} tensors. Its backbone must be of kind 'detectors_resnet'."
            )
        pyramid = super().forward(maps)
        for module in self.rfp_modules:
            backbone = cast("DetectoRSResNet", module)
            seen = [self.rfp_aspp(level) for level in pyramid[1 : len(maps)]]
            # The first stage takes nothing from the pyramid, hence the finest level is as it is.
            again = super().forward(backbone.refine(images, [pyramid[0], *seen]))
            pyramid = [self._mix(new, old) for new, old in zip(again, pyramid, strict=True)]
        return pyramid

    def _mix(self, new: Tensor, old: Tensor) -> Tensor:
        """A share of the new level, per cell, in place of the old."""
        share: Tensor = self.rfp_weight(new).sigmoid()  # [B, 1, h, w]
        return share * new + (1 - share) * old


@dataclass(frozen=True, kw_only=True)
class RFPSpec:
    """The pyramid's shape, and what it goes back through.

    Attributes:
        out_channels: of every level.
        num_outs: levels; the ones after the backbone's last subsample it by 2.
        steps: looks at the images; 1 is a plain feature pyramid.
        aspp_channels: of each view of a level on its way to the second backbone.
        aspp_dilations: of the views; the last is of the whole map, and must be 1.
        backbone: the second backbone, with weights of its own.
    """

    kind: Literal["rfp"] = "rfp"
    out_channels: int = 256
    num_outs: int = 5
    steps: int = 2
    aspp_channels: int = 64
    aspp_dilations: tuple[int, ...] = (1, 3, 6, 1)
    backbone: DetectoRSResNetSpec = DetectoRSResNetSpec()

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.out_channels, self.num_outs, self.steps, self.aspp_channels) < 1:
            raise ValueError(
                f"out_channels, num_outs, steps and aspp_channels must be 1 or more; got "
                f"{self.out_channels}, {self.num_outs}, {self.steps}, {self.aspp_channels}."
            )
        dilations = self.aspp_dilations
        if not dilations or min(dilations) < 1 or dilations[-1] != 1:
            raise ValueError(f"aspp_dilations must be positive and end with 1; got {dilations}.")

    @property
    def pyramid(self) -> FPNSpec:
        """The plain pyramid of each step."""
        return FPNSpec(out_channels=self.out_channels, num_outs=self.num_outs, extra="pool")

    def build(self, in_channels: Sequence[int], strides: Sequence[int]) -> RFP:
        """The module.

        Args:
            in_channels: channels of C2..C5, without the images.
            strides: their strides in pixels.

        Raises:
            RecipeError: if the levels cannot come out as asked, or the two backbones differ.
        """
        if self.num_outs < len(in_channels):
            raise RecipeError(
                f"neck.num_outs={self.num_outs} is too few for {len(in_channels)} "
                "backbone features."
            )
        neck = RFP(self, in_channels, strides)
        for module in neck.rfp_modules:
            second = cast("DetectoRSResNet", module)
            if (second.channels, second.strides) != (tuple(in_channels), tuple(strides)):
                raise RecipeError(
                    f"neck.backbone={self.backbone.name!r} has channels {second.channels} at "
                    f"strides {second.strides}; the first backbone has {tuple(in_channels)} at "
                    f"{tuple(strides)}. The same laterals read both."
                )
        return neck.to(memory_format=torch.channels_last)


def _atrous(in_channels: int, out_channels: int, dilation: int) -> nn.Conv2d:
    """3x3 at a dilation, or 1x1; the size of the map stays."""
    size, padding = (3, dilation) if dilation > 1 else (1, 0)
    conv = nn.Conv2d(in_channels, out_channels, size, padding=padding, dilation=dilation)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv
