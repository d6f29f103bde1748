"""The feature pyramid of TinyDet (Chen et al. 2023, arXiv:2304.03428), sparsely connected."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motedet.errors import RecipeError
from motedet.models.convolutions import Pointwise


class TinyFPN(nn.Module):
    """Lateral 1x1, top-down sums, and per level a sparsely connected convolution.

    Attributes:
        strides: of the outputs, in pixels per cell.
    """

    def __init__(
        self, spec: "TinyFPNSpec", in_channels: Sequence[int], strides: Sequence[int]
    ) -> None:
        super().__init__()
        width = spec.out_channels
        self.strides: tuple[int, ...] = tuple(strides)
        self._shuffled = max(spec.groups) if spec.shuffle else 1
        self.lateral_convs = nn.ModuleList(_lateral(c, width) for c in in_channels)
        self.fpn_convs = nn.ModuleList(
            sparse_conv(width, width, groups=g, init=nn.init.xavier_uniform_) for g in spec.groups
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The pyramid, finest level first.

        A map is brought to the size of the next finer one, which is twice its own where the image
        is a multiple of the coarsest stride, as published.

        Args:
            features: the backbone's maps, finest first, each [B, C, h, w].

        Returns:
            As many maps [B, out_channels, h, w].
        """
        laterals = [m(f) for m, f in zip(self.lateral_convs, features, strict=True)]
        for fine in range(len(laterals) - 2, -1, -1):
            size = laterals[fine].shape[-2:]
            laterals[fine] = laterals[fine] + F.interpolate(laterals[fine + 1], size=size)
        outputs = [m(x) for m, x in zip(self.fpn_convs, laterals, strict=True)]
        return (
            [F.channel_shuffle(x, self._shuffled) for x in outputs] if self._shuffles else outputs
        )

    @property
    def _shuffles(self) -> bool:
        return self._shuffled > 1


@dataclass(frozen=True, kw_only=True)
class TinyFPNSpec:
    """The pyramid's width, and how sparse its convolutions are.

    Attributes:
        out_channels: of every level; position-sensitive pooling of 7 x 7 bins wants a multiple
            of 49.
        groups: of the 1x1 convolution of each level, finest first; (7, 5, 1, 1) in TinyDet-S,
            (49, 7, 5, 1, 1) in M and L. There are as many levels as the backbone gives.
        shuffle: mix the channels of every level over the largest number of groups at the end; off
            in the published models.
    """

    kind: Literal["tiny_fpn"] = "tiny_fpn"
    out_channels: int = 245
    groups: tuple[int, ...] = (7, 5, 1, 1)
    shuffle: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.out_channels < 1 or not self.groups or min(self.groups) < 1:
            raise ValueError(
                "out_channels and groups must be positive; "
                f"got {self.out_channels} and {self.groups}."
            )
        if any(self.out_channels % g for g in self.groups):
            raise ValueError(
                f"groups must divide out_channels={self.out_channels}; got {self.groups}."
            )

    def build(self, in_channels: Sequence[int], strides: Sequence[int]) -> TinyFPN:
        """The module.

        Args:
            in_channels: channels of the backbone's features, finest first.
            strides: their strides in pixels.

        Raises:
            RecipeError: if there is not one number of groups per feature map.
        """
        if len(self.groups) != len(in_channels):
            raise RecipeError(
                f"neck.groups={self.groups} has {len(self.groups)} numbers, but the backbone gives "
                f"{len(in_channels)} feature maps; one per map is expected."
            )
        return TinyFPN(self, in_channels, strides).to(memory_format=torch.channels_last)


def sparse_conv(
    in_channels: int, out_channels: int, *, groups: int, init: Callable[[Tensor], Tensor]
) -> nn.Sequential:
    """TinyDet's sparsely connected convolution: depthwise 3x3, then 1x1 in groups, with biases.

    Args:
        in_channels: a multiple of `groups`.
        out_channels: a multiple of `groups`.
        groups: of the 1x1 convolution.
        init: fills the weights of both; biases start at 0.
    """
    depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels)
    pointwise = Pointwise(in_channels, out_channels, groups=groups)
    for conv in (depthwise, pointwise):
        init(conv.weight)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(depthwise, pointwise)


def _lateral(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 under the name `conv`, as published checkpoints have it."""
    conv = Pointwise(in_channels, out_channels)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(OrderedDict(conv=conv))
