"""Points: one location per cell, without a size (Tian et al. 2019, FCOS, arXiv 1904.01355)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from motedet.priors.grid import Level, PriorGrid
from motedet.structures import Size


@dataclass(frozen=True, kw_only=True)
class Points:
    """One point per cell, at (x + offset, y + offset) * stride.

    Attributes:
        strides: pixels per cell, finest level first.
        offset: place in the cell, in strides; 0.5 in FCOS, 0.0 in AutoAssign.
    """

    kind: Literal["points"] = "points"
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    offset: float = 0.5

    def __post_init__(self) -> None:
        """Reject grids without cells."""
        if not self.strides or min(self.strides) <= 0:
            raise ValueError(f"strides must be positive; got {self.strides}.")

    @property
    def per_cell(self) -> int:
        """A, the number of priors in a cell."""
        return 1

    def __call__(self, level_sizes: Sequence[Size]) -> PriorGrid:
        """The grid for feature maps of the given sizes; its boxes are the points themselves.

        Args:
            level_sizes: (height, width) in cells, one per stride.

        Raises:
            ValueError: if there are more or fewer levels than strides.
        """
        return _grid(self, tuple(level_sizes))


@lru_cache(maxsize=32)
def _grid(points: Points, level_sizes: tuple[Size, ...]) -> PriorGrid:
    """The grid; the same object for equal sizes, so that its tensors are made once."""
    if len(level_sizes) != len(points.strides):
        raise ValueError(f"strides {points.strides} do not fit {len(level_sizes)} feature maps.")
    levels = []
    for stride, (height, width) in zip(points.strides, level_sizes, strict=True):
        at = points.offset * stride
        levels.append(Level(stride, height, width, at, ((at, at, at, at),)))
    return PriorGrid(tuple(levels))
