"""The stacks of convolutions and the learnable scales that dense heads are made of.

All are plain torch modules under the names of published checkpoints.
"""

import math
from collections import OrderedDict
from typing import Final

import torch
from torch import nn

PRIOR_PROB: Final = 0.01  # Lin et al. 2017 (RetinaNet), 4.1: probability of a class at the start


def tower(in_channels: int, channels: int, *, depth: int, bias: bool, groups: int) -> nn.Sequential:
    """`depth` times 3x3 convolution, group norm, ReLU.

    Args:
        in_channels: of the feature maps.
        channels: of every convolution.
        depth: number of convolutions; 0 gives the identity.
        bias: of the convolutions.
        groups: of the group norms; 0 leaves them out.

    Returns:
        Named `0.conv`, `0.gn`, `1.conv`, ...
    """
    return nn.Sequential(
        *(
            _block(channels if i else in_channels, channels, bias=bias, groups=groups)
            for i in range(depth)
        )
    )


def predictor(in_channels: int, out_channels: int, *, prob: float | None = None) -> nn.Conv2d:
    """The last 3x3 convolution; `prob` is the score it starts with, for class logits."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.normal_(conv.weight, std=0.01)
    bias = 0.0 if prob is None else -math.log((1 - prob) / prob)
    nn.init.constant_(conv.bias, bias)  # type: ignore[arg-type]
    return conv


def scales(num_levels: int) -> nn.ModuleList:
    """A learnable factor for each level, named `0.scale`, `1.scale`, ..."""
    return nn.ModuleList(
        nn.ParameterDict({"scale": nn.Parameter(torch.tensor(1.0))}) for _ in range(num_levels)
    )


def _block(in_channels: int, channels: int, *, bias: bool, groups: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=bias)
    nn.init.normal_(conv.weight, std=0.01)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    parts: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if groups:
        parts["gn"] = nn.GroupNorm(groups, channels)
    parts["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(parts)
