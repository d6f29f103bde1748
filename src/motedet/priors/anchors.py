"""Anchors: boxes of fixed sizes and aspect ratios in every cell (Ren et al. 2015, 1506.01497)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch

from motedet.priors.grid import BaseBox, Level, PriorGrid
from motedet.structures import Size


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Several anchor boxes per cell; the side of a square one is stride times scale.

    Published anchors are centred on the top-left corners of the cells (`center_offset=0.0`), so
    that the pattern as a whole sits half a stride up and to the left; 0.5 centres them.

    Attributes:
        strides: pixels per cell, finest level first.
        ratios: height over width.
        scales: sides in strides; if None, `octave_base_scale` times 2 ** (k / `scales_per_octave`).
        octave_base_scale: the smallest scale of the octave.
        scales_per_octave: scales in one octave.
        center_offset: of the anchor's centre in its cell, in strides.
        scale_major: order within a cell: all scales of the first ratio, then of the second; if
            False all ratios of the first scale first.
    """

    kind: Literal["anchors"] = "anchors"
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    scales: tuple[float, ...] | None = None
    octave_base_scale: float = 4.0
    scales_per_octave: int = 3
    center_offset: float = 0.0
    scale_major: bool = True

    def __post_init__(self) -> None:
        """Reject anchors without area."""
        sizes = {
            "strides": self.strides,
            "ratios": self.ratios,
            "scales": (1.0,) if self.scales is None else self.scales,
            "octave_base_scale": (self.octave_base_scale,),
            "scales_per_octave": (self.scales_per_octave,),
        }
        for name, values in sizes.items():
            if not values or min(values) <= 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")

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
        num_scales = self.scales_per_octave if self.scales is None else len(self.scales)
        return len(self.ratios) * num_scales

    def base_boxes(self, stride: int) -> tuple[BaseBox, ...]:
        """The anchors of cell (0, 0), in float32 and in the published order of operations.

        Args:
            stride: pixels per cell.
        """
        octave = [
            self.octave_base_scale * 2 ** (k / self.scales_per_octave)
            for k in range(self.scales_per_octave)
        ]
        scales = torch.tensor(octave if self.scales is None else self.scales)[None, :]  # [1, S]
        heights = torch.tensor(self.ratios).sqrt()[:, None]  # [R, 1]
        sides = torch.stack((stride * (1 / heights) * scales, stride * heights * scales), dim=-1)
        sides = (sides if self.scale_major else sides.transpose(0, 1)).reshape(-1, 2)  # [A, 2]
        center = self.center_offset * stride
        return boxes_around(center, sides)


def boxes_around(center: float, sides: torch.Tensor) -> tuple[BaseBox, ...]:
    """Boxes around the point (center, center) as numbers.

    Args:
        center: in pixels, in x and in y.
        sides: [A, 2] float32, width and height.
    """
    boxes = torch.cat((center - 0.5 * sides, center + 0.5 * sides), dim=1)  # [A, 4]
    return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes.tolist())


@lru_cache(maxsize=32)
def _grid(anchors: Anchors, level_sizes: tuple[Size, ...]) -> PriorGrid:
    """The grid; the same object for equal sizes, so that its tensors are made once."""
    if len(level_sizes) != len(anchors.strides):
        raise ValueError(f"strides {anchors.strides} do not fit {len(level_sizes)} feature maps.")
    return PriorGrid(
        tuple(
            Level(stride, height, width, anchors.center_offset * stride, anchors.base_boxes(stride))
            for stride, (height, width) in zip(anchors.strides, level_sizes, strict=True)
        )
    )
