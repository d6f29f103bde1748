"""Anchors rounded to whole pixels, as mmdetection 1.x has them (Chen et al. 2019, 1906.07155).

That code counts a box's last pixel as part of it: its box (x1, y1, x2, y2) is x2 - x1 + 1 wide and
so is our box (x1, y1, x2 + 1, y2 + 1). Its anchors are centred and rounded in its own numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch

from motedet.priors.grid import BaseBox, Level, PriorGrid
from motedet.structures import Size


@dataclass(frozen=True, kw_only=True)
class RoundedAnchors:
    """Several anchor boxes of whole pixels per cell, in the middle of it up to the rounding.

    The side of a square one is stride times scale, rounded to a whole number of pixels on either
    side of the middle: the anchors of one level are not those of another times two.

    Attributes:
        strides: pixels per cell, finest level first.
        ratios: height over width.
        scales: sides in strides, before the rounding. Within a cell, all scales of the first ratio
            come before those of the second.
    """

    kind: Literal["rounded_anchors"] = "rounded_anchors"
    strides: tuple[int, ...] = (8, 16, 32, 64)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    scales: tuple[float, ...] = (2.25,)

    def __post_init__(self) -> None:
        """Reject anchors without area."""
        for name in ("strides", "ratios", "scales"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise ValueError(f"{name} must be positive; got {values}.")

    def __call__(self, level_sizes: Sequence[Size]) -> PriorGrid:
        """The grid for feature maps of the given sizes.

        Args:
            level_sizes: (height, width) in cells, one per stride.

        Raises:
            ValueError: if there are more or fewer levels than strides.
        """
        return _grid(self, tuple(level_sizes))

    @property
    def per_cell(self) -> int:
        """A, the number of priors in a cell."""
        return len(self.ratios) * len(self.scales)

    def base_boxes(self, stride: int) -> tuple[BaseBox, ...]:
        """The anchors of cell (0, 0), in float32 and in the published order of operations.

        Args:
            stride: pixels per cell.
        """
        heights = torch.tensor(self.ratios).sqrt()[:, None]  # [R, 1]
        scales = torch.tensor(self.scales)[None, :]  # [1, S]
        sides = torch.stack((stride * (1 / heights) * scales, stride * heights * scales), dim=-1)
        reach = 0.5 * (sides.reshape(-1, 2) - 1)  # [A, 2] from the middle of the outer pixels
        center = 0.5 * (stride - 1)
        first, last = (center - reach).round(), (center + reach).round()  # halves to even
        boxes = torch.cat((first, last + 1), dim=1)  # [A, 4]
        return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes.tolist())


@lru_cache(maxsize=32)
def _grid(anchors: RoundedAnchors, level_sizes: tuple[Size, ...]) -> PriorGrid:
    """The grid; the same object for equal sizes, so that its tensors are made once."""
    if len(level_sizes) != len(anchors.strides):
        raise ValueError(f"strides {anchors.strides} do not fit {len(level_sizes)} feature maps.")
    return PriorGrid(
        tuple(
            Level(stride, height, width, stride / 2, anchors.base_boxes(stride))
            for stride, (height, width) in zip(anchors.strides, level_sizes, strict=True)
        )
    )
