"""1x1 convolutions at full speed on a CPU with one thread."""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL: Final = 20480  # values; up to here PyTorch never takes oneDNN unless there are groups


class Pointwise(nn.Conv2d):
    """A 1x1 convolution of stride 1.

    With one thread and less than 16 images, PyTorch 2 computes one that is not dilated by loops of
    its own, which take two to ten times as long as oneDNN where there are groups or many cells.
    The dilation of a 1x1 kernel changes nothing but that choice.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, groups: int = 1, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, 1, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C', h, w]."""
        if torch.compiler.is_exporting() or not x.is_cpu:
            return super().forward(x)
        dilation = 2 if self.groups > 1 or x.numel() > SMALL else 1
        return F.conv2d(x, self.weight, self.bias, dilation=dilation, groups=self.groups)
