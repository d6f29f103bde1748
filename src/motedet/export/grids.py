"""Priors computed from the sizes of feature maps, inside the exported graph."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from motedet.priors import AnyPriors, Level
from motedet.structures import Size


@dataclass(frozen=True, slots=True)
class GridTables:
    """What decoding reads of P priors, in the order of `PriorGrid`.

    Attributes:
        boxes: [P, 4] xyxy in pixels.
        points: [P, 2] (x, y) in pixels.
        strides: [P] pixels per cell.
    """

    boxes: Tensor
    points: Tensor
    strides: Tensor


def single_cells(priors: AnyPriors) -> tuple[Level, ...]:
    """The levels of a grid of one cell each; not while the graph is made, for they are kept."""
    return priors([(1, 1)] * len(priors.strides)).levels


def grid_tables(levels: Sequence[Level], level_sizes: Sequence[Size]) -> GridTables:
    """The tables of a grid whose sizes may be unknown while the graph is made.

    `PriorGrid` keeps its tensors, and finds them again by the sizes: neither is possible here.

    Args:
        levels: what `single_cells` gave for the detector's priors.
        level_sizes: (h, w) of each level in cells, perhaps symbolic.
    """
    boxes, points, strides = [], [], []
    for level, (height, width) in zip(levels, level_sizes, strict=True):
        x = torch.arange(width).to(torch.float32) * level.stride  # [w]
        y = torch.arange(height).to(torch.float32) * level.stride  # [h]
        corner = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 1, 2)
        bases = torch.tensor(level.base_boxes, dtype=torch.float32)  # [A, 4]
        every = corner.repeat(1, 1, 2) + bases  # [h * w, A, 4]
        boxes.append(every.flatten(0, 1))
        points.append((corner + level.offset).expand(-1, len(bases), -1).flatten(0, 1))
        strides.append(torch.full_like(boxes[-1][:, 0], level.stride))
    return GridTables(torch.cat(boxes), torch.cat(points), torch.cat(strides))
