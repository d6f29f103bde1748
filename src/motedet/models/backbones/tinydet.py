"""The two thin backbones of TinyDet (Chen et al. 2023, arXiv:2304.03428), made like MobileNetV3.

A plain stride of 2 puts the cells of a feature map half a cell beside those that nearest-neighbour
upsampling takes them for. Here every stride of 2 but the stem's is preceded by the average of 2x2
neighbours, so that a cell lies in the middle of the four below it. Parameter names are the
published ones.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motedet.errors import RecipeError
from motedet.models.convolutions import Pointwise

SQUEEZE: Final = (
    4  # a squeeze-and-excite block looks at the map through so many times less channels
)


class Row(NamedTuple):
    """One inverted block of the published tables.

    Attributes:
        kernel: side of the depthwise convolution.
        expanded: its channels.
        channels: of the result.
        hswish: rectified by hard swish; by ReLU otherwise.
        squeeze: with squeeze-and-excite.
        stride: of the depthwise convolution.
    """

    kernel: int
    expanded: int
    channels: int
    hswish: bool = False
    squeeze: bool = False
    stride: int = 1


class Plan(NamedTuple):
    """A backbone: a stem, a block that does not expand, and inverted blocks.

    Attributes:
        stem: channels of the stem and of the first block.
        rows: the inverted blocks, of which the first has index 2.
        outputs: indices of the blocks whose results are used; the strides double from one to the
            next.
    """

    stem: int
    rows: tuple[Row, ...]
    outputs: tuple[int, ...]


PLANS: Final = {
    "D": Plan(
        16,
        (
            Row(3, 64, 24, stride=2),
            Row(3, 72, 24),
            Row(5, 72, 40, squeeze=True, stride=2),
            Row(5, 120, 40, squeeze=True),
            Row(5, 120, 40, squeeze=True),
            Row(3, 240, 80, hswish=True, stride=2),
            Row(3, 240, 80, hswish=True),
            Row(5, 240, 80, hswish=True),
            Row(5, 240, 80, hswish=True),
            Row(3, 240, 112, hswish=True, squeeze=True),
            Row(3, 336, 112, hswish=True, squeeze=True),
            Row(5, 336, 160, hswish=True, squeeze=True, stride=2),
            Row(5, 480, 160, hswish=True, squeeze=True),
            Row(5, 480, 160, hswish=True, squeeze=True),
            Row(5, 960, 160, hswish=True, squeeze=True, stride=2),
        ),
        (6, 12, 15, 16),
    ),
    "BC": Plan(
        24,
        (
            Row(3, 72, 36, stride=2),
            Row(3, 108, 36),
            Row(3, 108, 36),
            Row(3, 108, 36),
            Row(5, 108, 60, squeeze=True, stride=2),
            Row(5, 180, 60, squeeze=True),
            Row(5, 180, 60, squeeze=True),
            Row(3, 240, 80, hswish=True, stride=2),
            Row(3, 200, 80, hswish=True),
            Row(3, 184, 80, hswish=True),
            Row(3, 184, 80, hswish=True),
            Row(3, 480, 112, hswish=True, squeeze=True),
            Row(3, 672, 112, hswish=True, squeeze=True),
            Row(5, 672, 160, hswish=True, squeeze=True, stride=2),
            Row(5, 960, 160, hswish=True, squeeze=True),
            Row(5, 960, 160, hswish=True, squeeze=True),
            Row(5, 960, 160, hswish=True, squeeze=True, stride=2),
            Row(5, 960, 160, hswish=True, squeeze=True),
        ),
        (5, 8, 14, 17, 19),
    ),
}


class SqueezeExcite(nn.Module):
    """Channels weighted by what the whole map holds (Hu et al. 2018), without biases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            Pointwise(channels, channels // SQUEEZE, bias=False),
            nn.ReLU(inplace=True),
            Pointwise(channels // SQUEEZE, channels, bias=False),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The map [B, C, h, w], its channels weighted."""
        weights: Tensor = self.se(x)  # [B, C, 1, 1]
        return x * weights


class Average(nn.AvgPool2d):
    """Of 2x2 neighbours; on a CPU as a convolution, at which onnxruntime is many times faster."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C, h - 1, w - 1]."""
        if not x.is_cpu:
            return super().forward(x)
        channels = x.shape[1]
        return F.conv2d(x, x.new_full((channels, 1, 2, 2), 0.25), groups=channels)


class FirstBlock(nn.Module):
    """Depthwise 3x3 and 1x1, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = Pointwise(channels, channels, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to the same shape."""
        y: Tensor = self.bn2(self.conv2(x)).relu_()
        y = self.bn3(self.conv3(y))
        return x + y


class InvertedBlock(nn.Module):
    """1x1 to more channels, depthwise k x k, 1x1 to fewer, added to the input if that fits."""

    def __init__(self, in_channels: int, row: Row) -> None:
        super().__init__()
        kernel, width, channels = row.kernel, row.expanded, row.channels
        self.conv1 = Pointwise(in_channels, width, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = _activation(row)
        self.align = Average(2, stride=1) if row.stride > 1 else None
        self.conv2 = nn.Conv2d(
            width, width, kernel, row.stride, kernel // 2, groups=width, bias=False
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.act2 = _activation(row)
        self.se = SqueezeExcite(width) if row.squeeze else None
        self.conv3 = Pointwise(width, channels, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self._adds = in_channels == channels and row.stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C', h', w']; with a stride of 2, h' is h / 2 rounded down, or 1."""
        y = self.act1(self.bn1(self.conv1(x)))
        if self.align is not None and min(y.shape[-2:]) > 1:
            y = self.align(y)
        y = self.act2(self.bn2(self.conv2(y)))
        if self.se is not None:
            y = self.se(y)
        y = self.bn3(self.conv3(y))
        result: Tensor = x + y if self._adds else y
        return result


class TinyDetBackbone(nn.Module):
    """The blocks, and the maps of some of them.

    Attributes:
        channels: of each returned feature map.
        strides: of each returned feature map, in pixels per cell.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        stem = nn.Sequential(
            nn.Conv2d(3, plan.stem, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(plan.stem),
            nn.Hardswish(),
        )
        blocks: list[nn.Module] = [stem, FirstBlock(plan.stem)]
        width = [plan.stem, plan.stem, *(row.channels for row in plan.rows)]  # of each block
        blocks += [InvertedBlock(width[i + 1], row) for i, row in enumerate(plan.rows)]
        self.blocks = nn.ModuleList(blocks)
        self._outputs = plan.outputs
        self.channels: tuple[int, ...] = tuple(width[i] for i in plan.outputs)
        stride = [2, 2, *(row.stride for row in plan.rows)]
        for i in range(2, len(stride)):
            stride[i] *= stride[i - 1]
        self.strides: tuple[int, ...] = tuple(stride[i] for i in plan.outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps, finest first.

        Args:
            images: [B, 3, H, W], normalised; of any size, though cells lie exactly in the middle
                of finer ones only where H and W are multiples of the coarsest stride.

        Returns:
            One [B, C, h, w] per stride.
        """
        # On CPU and on tensor cores alike, convolutions are fastest with the channels innermost.
        x = images.contiguous(memory_format=torch.channels_last)
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self._outputs:
                features.append(x)
        return features


@dataclass(frozen=True, kw_only=True)
class TinyDetBackboneSpec:
    """Which of the two.

    Attributes:
        variant: "D" of TinyDet-S has strides 8 to 64, "BC" of M and L strides 4 to 64.
        pretrained: refused, because the authors' ImageNet weights are on a drive of theirs.
    """

    kind: Literal["tinydet"] = "tinydet"
    variant: Literal["D", "BC"] = "D"
    pretrained: bool = False

    def __post_init__(self) -> None:
        """Check the variant."""
        if self.variant not in PLANS:
            raise ValueError(f"variant must be one of {sorted(PLANS)}; got {self.variant!r}.")

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"tinydet_{self.variant.lower()}"

    def build(self) -> TinyDetBackbone:
        """The module, with random weights.

        Raises:
            RecipeError: if `pretrained`.
        """
        if self.pretrained:
            raise RecipeError(
                f"The ImageNet weights of TinyDet's backbone {self.variant!r} cannot be fetched: "
                "they are only on its authors' drive. Get the file there "
                f"(mobilenetv3_{self.variant.lower()}.pt), set model.backbone.pretrained=false, "
                "and start from it with motedet train --init FILE."
            )
        return TinyDetBackbone(PLANS[self.variant]).to(memory_format=torch.channels_last)


def _activation(row: Row) -> nn.Module:
    return nn.Hardswish(inplace=True) if row.hswish else nn.ReLU(inplace=True)
