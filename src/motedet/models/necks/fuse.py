"""The fusion of SegFormer-style heads (Xie et al. 2021, arXiv:2105.15203, section 3.2).

All maps are brought to one width and to the size of the finest, and mixed. In published
checkpoints these layers belong to the head.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FuseNeck(nn.Module):
    """1x1 per map, resized to the finest, side by side, and 1x1 over all.

    Attributes:
        strides: of the one output, in pixels per cell.
    """

    def __init__(
        self, spec: "FuseNeckSpec", in_channels: Sequence[int], strides: Sequence[int]
    ) -> None:
        super().__init__()
        width = spec.out_channels
        self.strides: tuple[int, ...] = (strides[0],)
        self.convs = nn.ModuleList(_conv(channels, width) for channels in in_channels)
        self.fusion_conv = _conv(width * len(in_channels), width)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """One map, of the size of the finest.

        Args:
            features: the backbone's maps, finest first, each [B, C, h, w].

        Returns:
            One map [B, out_channels, h, w].
        """
        size = features[0].shape[-2:]
        levels = [
            F.interpolate(conv(feature), size=size, mode="bilinear", align_corners=False)
            for conv, feature in zip(self.convs, features, strict=True)
        ]
        return [self.fusion_conv(torch.cat(levels, dim=1))]


@dataclass(frozen=True, kw_only=True)
class FuseNeckSpec:
    """The width of the maps.

    Attributes:
        out_channels: of every map before the fusion, and of the result.
    """

    kind: Literal["fuse"] = "fuse"
    out_channels: int = 128

    def __post_init__(self) -> None:
        """Check the width."""
        if self.out_channels < 1:
            raise ValueError(f"out_channels must be 1 or more; got {self.out_channels}.")

    def build(self, in_channels: Sequence[int], strides: Sequence[int]) -> FuseNeck:
        """The module.

        Args:
            in_channels: channels of the backbone's features, finest first.
            strides: their strides in pixels.
        """
        return FuseNeck(self, in_channels, strides).to(memory_format=torch.channels_last)


def _conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution, batch-norm, ReLU, under the names of published checkpoints."""
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv=conv, bn=nn.BatchNorm2d(out_channels), relu=nn.ReLU(inplace=True)
    )
    return nn.Sequential(parts)
