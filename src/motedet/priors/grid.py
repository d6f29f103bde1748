"""Where predictions may sit: regular grids, described level by level.

A prior is never stored to be known: its box follows from its level, its cell and its place in the
cell. Assigners use that to find the priors near an object in closed form (`Lattices`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar, cast

import torch
from torch import Tensor

from motedet.structures import Size

_Made = TypeVar("_Made")

BaseBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class Level:
    """One pyramid level: A priors in every cell of a regular grid.

    Attributes:
        stride: pixels between neighbouring cells.
        height: rows of cells.
        width: columns of cells.
        offset: of the point of cell (0, 0) from the image corner, in pixels, in x and in y.
        base_boxes: the A prior boxes of cell (0, 0), xyxy in pixels; numbers that float32 holds
            exactly. Prior a of cell (x, y) is base_boxes[a] + (x * stride, y * stride).
    """

    stride: int
    height: int
    width: int
    offset: float
    base_boxes: tuple[BaseBox, ...]

    @property
    def num_priors(self) -> int:
        """Cells times priors per cell."""
        return self.height * self.width * len(self.base_boxes)


@dataclass(frozen=True, slots=True)
class Lattices:
    """The grid as M plain lattices, one for each level and place in the cell, levels outermost.

    All priors of a lattice have the same size and are `stride` apart; the one in column x and row y
    has the index first + x * column_step + y * row_step.

    Attributes:
        stride: [M] float32, pixels.
        boxes: [M, 4] float32, xyxy of the box in cell (0, 0).
        centers: [M, 2] float32, centre of the box in cell (0, 0).
        points: [M, 2] float32, point of cell (0, 0).
        sides: [M, 2] float32, width and height of the boxes.
        cells: [M, 2] int64, columns and rows.
        first: [M] int64, index of the prior in cell (0, 0).
        steps: [M, 2] int64, column_step and row_step.
    """

    stride: Tensor
    boxes: Tensor
    centers: Tensor
    points: Tensor
    sides: Tensor
    cells: Tensor
    first: Tensor
    steps: Tensor

    def __getitem__(self, part: slice) -> "Lattices":
        """Some of the lattices."""
        return Lattices(
            self.stride[part],
            self.boxes[part],
            self.centers[part],
            self.points[part],
            self.sides[part],
            self.cells[part],
            self.first[part],
            self.steps[part],
        )


@dataclass(frozen=True)
class PriorGrid:
    """All priors of an image: level after level, row after row, cell after cell.

    Tensors are made once per device and kept; callers must not change them.

    Attributes:
        levels: finest first.
    """

    levels: tuple[Level, ...]
    _kept: dict[tuple[str, torch.device], object] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def num_priors(self) -> int:
        """P, over all levels."""
        return sum(level.num_priors for level in self.levels)

    @cached_property
    def level_starts(self) -> tuple[int, ...]:
        """Index of the first prior of each level."""
        counts = [level.num_priors for level in self.levels]
        return tuple(sum(counts[:i]) for i in range(len(counts)))

    def boxes(self, device: torch.device | str = "cpu") -> Tensor:
        """[P, 4] xyxy float32, not clipped to the image."""
        return self._keep("boxes", device, self._make_boxes)

    def points(self, device: torch.device | str = "cpu") -> Tensor:
        """[P, 2] (x, y) float32, the points of the cells."""
        return self._keep("points", device, self._make_points)

    def centers(self, device: torch.device | str = "cpu") -> Tensor:
        """[P, 2] (x, y) float32, the centres of the boxes."""
        return self._keep("centers", device, self._make_centers)

    def strides(self, device: torch.device | str = "cpu") -> Tensor:
        """[P] float32, pixels per cell at each prior."""
        return self._keep("strides", device, self._make_strides)

    def lattices(self, device: torch.device | str = "cpu") -> Lattices:
        """The grid in the form that candidate search works on."""
        return self._keep("lattices", device, self._make_lattices)

    def boxes_at(self, index: Tensor) -> Tensor:
        """[..., 4] boxes of the priors `index`, int64 of any shape."""
        return self.boxes(index.device)[index]

    def points_at(self, index: Tensor) -> Tensor:
        """[..., 2] points of the priors `index`, int64 of any shape."""
        return self.points(index.device)[index]

    def inside(self, sizes: Sequence[Size], device: torch.device | str = "cpu") -> Tensor:
        """Which priors lie in the cells that cover each image.

        Args:
            sizes: (height, width) in pixels, of each of B images.
            device: of the answer.

        Returns:
            [B, P] bool.
        """
        limits = torch.tensor(sizes, device=device).flip(-1)  # [B, 2] width, height
        masks = [_cells_inside(level, limits) for level in self.levels]  # [B, n_l] each
        return torch.cat(masks, dim=1)

    def within(
        self, sizes: Sequence[Size], border: float, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Which priors reach at most `border` pixels out of each image.

        As published, the left and the upper limit count as within, the right and the lower do not.

        Args:
            sizes: (height, width) in pixels, of each of B images.
            border: pixels.
            device: of the answer.

        Returns:
            [B, P] bool.
        """
        x1, y1, x2, y2 = self.boxes(device).unbind(1)  # [P] each
        limits = torch.tensor(sizes, dtype=torch.float32, device=device) + border  # [B, 2]
        height, width = limits[:, None].unbind(-1)  # [B, 1] each
        return ((x1 >= -border) & (y1 >= -border)) & (x2 < width) & (y2 < height)

    def _keep(
        self, name: str, device: torch.device | str, make: Callable[[torch.device], _Made]
    ) -> _Made:
        key = (name, torch.device(device))
        if key not in self._kept:
            # outside of inference mode, whose tensors could not serve in a later training step
            with torch.inference_mode(mode=False):
                self._kept[key] = make(key[1])
        return cast(_Made, self._kept[key])

    def _make_boxes(self, device: torch.device) -> Tensor:
        boxes = [_shifted(level, _bases(level, device)) for level in self.levels]
        return torch.cat(boxes)  # [P, 4]

    def _make_points(self, device: torch.device) -> Tensor:
        points = [
            _shifted(level, torch.full((len(level.base_boxes), 2), level.offset, device=device))
            for level in self.levels
        ]
        return torch.cat(points)  # [P, 2]

    def _make_centers(self, device: torch.device) -> Tensor:
        boxes = self.boxes(device)
        return (boxes[:, :2] + boxes[:, 2:]) / 2  # [P, 2]

    def _make_strides(self, device: torch.device) -> Tensor:
        strides = [
            torch.full((level.num_priors,), float(level.stride), device=device)
            for level in self.levels
        ]
        return torch.cat(strides)  # [P]

    def _make_lattices(self, device: torch.device) -> Lattices:
        counts = torch.tensor([len(level.base_boxes) for level in self.levels], device=device)
        rows = [
            (level.width, level.height, start, len(level.base_boxes))
            for level, start in zip(self.levels, self.level_starts, strict=True)
        ]
        width, height, start, per_cell = (
            torch.tensor(rows, device=device)
            .reshape(-1, 4)
            .repeat_interleave(counts, dim=0)
            .unbind(1)
        )  # [M] each
        place = torch.cat([torch.arange(len(v.base_boxes), device=device) for v in self.levels])
        bases = torch.cat([_bases(level, device) for level in self.levels])  # [M, 4]
        scales = [(float(level.stride), level.offset) for level in self.levels]
        stride, offset = (
            torch.tensor(scales, device=device).repeat_interleave(counts, dim=0).unbind(1)
        )
        return Lattices(
            stride=stride,
            boxes=bases,
            centers=(bases[:, :2] + bases[:, 2:]) / 2,
            points=offset[:, None].expand(-1, 2),
            sides=bases[:, 2:] - bases[:, :2],
            cells=torch.stack((width, height), dim=1),
            first=start + place,
            steps=torch.stack((per_cell, per_cell * width), dim=1),
        )


def _bases(level: Level, device: torch.device) -> Tensor:
    """[A, 4] prior boxes of cell (0, 0)."""
    return torch.tensor(level.base_boxes, dtype=torch.float32, device=device).reshape(-1, 4)


def _shifted(level: Level, bases: Tensor) -> Tensor:
    """[n_l, D] boxes (D = 4) or points (D = 2) of every cell, from those of cell (0, 0) [A, D]."""
    x = torch.arange(level.width, device=bases.device, dtype=torch.float32) * level.stride
    y = torch.arange(level.height, device=bases.device, dtype=torch.float32) * level.stride
    corner = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 1, 2)
    shift = corner.repeat(1, 1, bases.shape[-1] // 2)  # [h * w, 1, D]
    return (shift + bases).flatten(0, 1)  # [h * w * A, D]


def _cells_inside(level: Level, limits: Tensor) -> Tensor:
    """[B, n_l] bool, whether a prior's cell starts within the limits [B, 2] (width, height)."""
    x = torch.arange(level.width, device=limits.device) * level.stride
    y = torch.arange(level.height, device=limits.device) * level.stride
    mask = (y < limits[:, 1:])[:, :, None] & (x < limits[:, :1])[:, None, :]  # [B, h, w]
    return mask.flatten(1).repeat_interleave(len(level.base_boxes), dim=1)  # [B, h * w * A]
