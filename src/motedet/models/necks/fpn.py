"""Feature pyramid network (Lin et al. 2017, arXiv:1612.03144)."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motedet.errors import RecipeError

Extra = Literal["none", "pool", "on_input", "on_lateral", "on_output"]


class FPN(nn.Module):
    """Lateral 1x1, top-down sums, 3x3 smoothing; no norm, no activation.

    Attributes:
        strides: of the outputs, in pixels per cell.
    """

    def __init__(self, spec: "FPNSpec", in_channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        used = list(in_channels[spec.start_level :])
        self._spec = spec
        self.strides = _extended(strides[spec.start_level :], spec.num_outs)
        width = spec.out_channels
        self.lateral_convs = nn.ModuleList(_conv(c, width, 1) for c in used)
        smooth = [_conv(width, width, 3) for _ in used]
        extra = []
        if spec.extra not in ("none", "pool"):
            first = used[-1] if spec.extra == "on_input" else width
            sources = [first] + [width] * spec.num_outs
            extra = [_conv(c, width, 3, stride=2) for c in sources[: spec.num_outs - len(used)]]
        self.fpn_convs = nn.ModuleList([*smooth, *extra])
        if spec.init == "caffe2":
            for conv in self.modules():
                if isinstance(conv, nn.Conv2d):
                    nn.init.kaiming_uniform_(conv.weight, a=1)  # variance 1 / fan_in

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The pyramid, finest level first.

        Args:
            features: the backbone's maps, finest first, each [B, C, h, w].

        Returns:
            `num_outs` maps [B, out_channels, h, w]; each extra one has ceil(h / 2) of the last.
        """
        inputs = features[self._spec.start_level :]
        laterals = [m(f) for m, f in zip(self.lateral_convs, inputs, strict=True)]
        for fine in range(len(laterals) - 2, -1, -1):
            size = laterals[fine].shape[-2:]
            laterals[fine] = laterals[fine] + F.interpolate(laterals[fine + 1], size=size)
        outputs = [m(x) for m, x in zip(self.fpn_convs[: len(laterals)], laterals, strict=True)]
        return outputs + self._extra_levels(inputs[-1], laterals[-1], outputs[-1])

    def _extra_levels(self, source: Tensor, lateral: Tensor, output: Tensor) -> list[Tensor]:
        """Levels coarser than the backbone's last, made from the map that the spec names."""
        missing = len(self.strides) - len(self.lateral_convs)
        if self._spec.extra == "pool":
            pooled = [output]
            for _ in range(missing):
                pooled.append(pooled[-1][..., ::2, ::2])
            return pooled[1:]
        start = {"on_input": source, "on_lateral": lateral}.get(self._spec.extra, output)
        levels: list[Tensor] = []
        for module in self.fpn_convs[len(self.lateral_convs) :]:
            previous = levels[-1] if levels else start
            if levels and self._spec.relu_before_extra:  # never before the first one
                previous = previous.relu()
            levels.append(module(previous))
        return levels


@dataclass(frozen=True, kw_only=True)
class FPNSpec:
    """The pyramid's shape.

    Attributes:
        out_channels: of every level.
        start_level: the first of the backbone's features that is used.
        num_outs: levels; more than the backbone gives are made by `extra`.
        extra: "pool" subsamples the last output by 2; the others convolve with stride 2 the last
            backbone feature ("on_input"), merged lateral, or output.
        relu_before_extra: a ReLU before every extra convolution but the first.
        init: of the weights; "xavier" is uniform with variance 2 / (fan_in + fan_out), "caffe2", as
            AutoAssign has it, uniform with variance 1 / fan_in.
    """

    kind: Literal["fpn"] = "fpn"
    out_channels: int = 256
    start_level: int = 0
    num_outs: int = 5
    extra: Extra = "on_output"
    relu_before_extra: bool = False
    init: Literal["xavier", "caffe2"] = "xavier"

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.out_channels, self.num_outs) < 1 or self.start_level < 0:
            raise ValueError(f"out_channels, num_outs and start_level are too small: {self}.")

    def build(self, in_channels: Sequence[int], strides: Sequence[int]) -> FPN:
        """The module.

        Args:
            in_channels: channels of the backbone's features.
            strides: their strides in pixels.

        Raises:
            RecipeError: if the levels cannot come out as asked.
        """
        used = len(in_channels) - self.start_level
        exact = self.num_outs == used
        if used < 1 or used > self.num_outs or (self.extra == "none" and not exact):
            raise RecipeError(
                f"neck.num_outs={self.num_outs} with extra={self.extra!r} does not fit "
                f"{used} used backbone features."
            )
        return FPN(self, in_channels, strides).to(memory_format=torch.channels_last)


def flatten_levels(maps: Sequence[Tensor], channels: int) -> Tensor:
    """Maps of all levels as one list of predictions, cell by cell, in float32 or better.

    Args:
        maps: one [B, A * channels, h, w] per level, prior-major channels.
        channels: values per prior.

    Returns:
        [B, P, channels] with P the sum of h * w * A.
    """
    rows = [m.permute(0, 2, 3, 1).reshape(m.shape[0], -1, channels) for m in maps]
    flat = torch.cat(rows, dim=1)  # [B, P, channels]
    return flat.to(torch.promote_types(flat.dtype, torch.float32))


def _conv(in_channels: int, out_channels: int, size: int, *, stride: int = 1) -> nn.Sequential:
    """A convolution under the name `conv`, as published checkpoints have it."""
    conv = nn.Conv2d(in_channels, out_channels, size, stride, size // 2)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(OrderedDict(conv=conv))


def _extended(strides: Sequence[int], count: int) -> tuple[int, ...]:
    """`strides` and then twice the last, until there are `count`."""
    result = list(strides)
    while len(result) < count:
        result.append(2 * result[-1])
    return tuple(result)
