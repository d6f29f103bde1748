"""The up-sampling neck of TTFNet (Liu et al. 2020, arXiv:1909.00700, section 3.1).

The coarsest map is convolved and doubled in size a few times, each time with a shortcut from the
backbone's map of that size. In published checkpoints these layers belong to the head.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from motedet.errors import RecipeError


class DeformConv2d(nn.Conv2d):
    """A deformable 3x3 convolution without modulation (Dai et al. 2017, arXiv:1703.06211).

    Where each of the nine taps looks is predicted from the map itself; the offsets start at zero.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)
        taps = 2 * 9  # (y, x) for each of the 3x3 taps, row by row
        self.conv_offset = nn.Conv2d(in_channels, taps, 3, padding=1)
        for parameter in self.conv_offset.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve at the predicted places.

        Args:
            x: [B, C, h, w].

        Returns:
            [B, O, h, w].
        """
        offset = self.conv_offset(x)  # [B, 18, h, w]
        # In half precision a position beyond 256 is a whole number, and the CPU knows no such
        # kernel; the sampling is therefore always in float32 or better.
        exact = torch.promote_types(x.dtype, torch.float32)
        moved: Tensor = deform_conv2d(
            x.to(exact), offset.to(exact), self.weight.to(exact), padding=(1, 1)
        )
        # Deformable convolution answers with the channels outermost.
        return moved.to(offset.dtype, memory_format=torch.channels_last)


class UpsamplingNeck(nn.Module):
    """Convolve, double, add what the backbone had at that size; and again.

    Attributes:
        strides: of the one output, in pixels per cell.
    """

    def __init__(
        self, spec: "UpsamplingNeckSpec", in_channels: Sequence[int], strides: Sequence[int]
    ) -> None:
        super().__init__()
        steps = len(spec.widths)
        self.strides: tuple[int, ...] = (strides[-1 - steps],)
        sources = (in_channels[-1], *spec.widths[:-1])  # of the maps to be doubled
        shortcuts = in_channels[-1 - steps : -1][::-1]  # of the backbone's, coarsest first
        self.deconv_layers = nn.ModuleList(
            _convolved(source, width, spec.conv)
            for source, width in zip(sources, spec.widths, strict=True)
        )
        self.shortcut_layers = nn.ModuleList(
            _shortcut(source, width, depth)
            for depth, (source, width) in enumerate(zip(shortcuts, spec.widths, strict=True), 1)
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The finest map, alone.

        Args:
            features: the backbone's maps, finest first, each [B, C, h, w].

        Returns:
            One map [B, widths[-1], h, w], of the size of the backbone's at that stride.
        """
        x = features[-1]
        finer = features[: len(features) - 1][::-1]  # coarsest first; more than needed is not read
        for convolve, shortcut, source in zip(
            self.deconv_layers, self.shortcut_layers, finer, strict=False
        ):
            # Twice the size, but where the image is no multiple of the coarsest stride.
            size = source.shape[-2:]
            up = F.interpolate(convolve(x), size=size, mode="bilinear", align_corners=True)
            x = up + shortcut(source)  # [B, width, h, w]
        return [x]


@dataclass(frozen=True, kw_only=True)
class UpsamplingNeckSpec:
    """How often the size doubles, and by which convolutions.

    Attributes:
        widths: channels after each doubling, coarsest first.
        conv: "deformable" as published; "plain" is an ordinary 3x3, for CPUs and exports. Its
            names are those of the first without the offsets.
    """

    kind: Literal["upsample"] = "upsample"
    widths: tuple[int, ...] = (512, 256, 128)
    conv: Literal["deformable", "plain"] = "deformable"

    def __post_init__(self) -> None:
        """Check the widths."""
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths must be one or more positive numbers; got {self.widths}.")

    @property
    def out_channels(self) -> int:
        """Of the one output."""
        return self.widths[-1]

    def build(self, in_channels: Sequence[int], strides: Sequence[int]) -> UpsamplingNeck:
        """The module.

        Args:
            in_channels: channels of the backbone's features, finest first.
            strides: their strides in pixels.

        Raises:
            RecipeError: if there is no feature for each doubling.
        """
        used = tuple(strides[-1 - len(self.widths) :])
        doubles = all(coarse == 2 * fine for fine, coarse in pairwise(used))
        if len(used) <= len(self.widths) or not doubles:
            raise RecipeError(
                f"neck.widths={self.widths} doubles the coarsest feature {len(self.widths)} "
                f"times, each time with a feature of that size; the backbone has strides "
                f"{tuple(strides)}. Change neck.widths or backbone.out_stages."
            )
        neck = UpsamplingNeck(self, in_channels, strides)
        return neck.to(memory_format=torch.channels_last)


def _convolved(
    in_channels: int, out_channels: int, conv: Literal["deformable", "plain"]
) -> nn.Sequential:
    """3x3 convolution, batch-norm, ReLU."""
    layer = (
        DeformConv2d(in_channels, out_channels)
        if conv == "deformable"
        else nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    )
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def _shortcut(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    """`depth` 3x3 convolutions with ReLUs between them; none comes last, the result is summed."""
    parts: list[nn.Module] = []
    for i in range(depth):
        conv = nn.Conv2d(out_channels if i else in_channels, out_channels, 3, padding=1)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        parts += [nn.ReLU(inplace=True), conv] if i else [conv]
    return nn.Sequential(OrderedDict(layers=nn.Sequential(*parts)))
