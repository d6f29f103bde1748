"""Axis-aligned Gaussians on the cells of one map, one for each object, as TTFNet draws them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motedet.assign.pairs import usable_cells
from motedet.errors import RecipeError
from motedet.priors import PriorGrid
from motedet.structures import PackedTargets


@dataclass(frozen=True, slots=True)
class CellGaussians:
    """Gaussians that end at a whole number of cells from their centre, where they are still > 0.

    Attributes:
        center: [G, 2] float32, column and row; whole numbers, also outside the map.
        half: [G, 2] float32, cells on each side of the centre; whole numbers.
        stride: pixels per cell.
        columns: of the map.
    """

    center: Tensor
    half: Tensor
    stride: int
    columns: int

    def bounds(self) -> tuple[Tensor, Tensor]:
        """[G, 2] and [G, 2], the first and the last cell in pixels from cell (0, 0)."""
        return (self.center - self.half) * self.stride, (self.center + self.half) * self.stride

    def values(self, gt: Tensor, prior: Tensor) -> Tensor:
        """[E] values of the Gaussians `gt` [E] at the priors `prior` [E], not cut off."""
        row = prior.div(self.columns, rounding_mode="floor")  # [E]
        cell = torch.stack((prior - row * self.columns, row), dim=1)  # [E, 2]
        return gaussian_values(cell - self.center[gt], self.half[gt])


def gaussian_values(offset: Tensor, half: Tensor) -> Tensor:
    """Axis-aligned Gaussians of which the whole of 2 * half + 1 cells are six sigmas wide.

    Args:
        offset: [..., 2] from the centre, in cells.
        half: [..., 2] cells on each side of the centre.

    Returns:
        [...] in (0, 1], 1 in the centre.
    """
    sigma = (2 * half + 1) / 6  # [..., 2]
    return (offset.square() / (2 * sigma.square())).sum(-1).neg().exp()


def gaussians_on_cells(
    grid: PriorGrid, targets: PackedTargets, *, scale: float, max_side: float
) -> CellGaussians:
    """The Gaussian of each object, around the cell that holds the centre of its box.

    As published, the sides are those of the box with its corners moved to between the first pixels
    of the first and of the last cell of the map, and the centre is that of the whole box.

    Args:
        grid: one map; of an image with a valid size, the cells that cover it.
        targets: G objects.
        scale: half sides of the Gaussians, in half sides of the boxes.
        max_side: pixels from which longer sides make no difference.
    """
    boxes, level = targets.boxes.float(), grid.levels[0]
    cells = boxes / level.stride  # [G, 4]
    whole = usable_cells(grid, replace(targets, allowed_border=None), targets.image_index)
    last = (whole[:, 0, 2:] - 1).float().clamp(min=0)  # [G or 1, 2]
    corners = cells.view(-1, 2, 2).clamp(min=0).minimum(last[:, None])  # [G, 2, 2]
    sides = (corners[:, 1] - corners[:, 0]).clamp(min=0, max=max_side / level.stride)  # [G, 2]
    center = ((boxes[:, :2] + boxes[:, 2:]) / 2 / level.stride).trunc()
    return CellGaussians(center, (sides / 2 * scale).trunc(), level.stride, level.width)


def check_one_map(grid: PriorGrid) -> None:
    """Raise unless the grid has one level and one prior in each cell.

    Raises:
        RecipeError: saying what the priors have instead.
    """
    per_cell = [len(level.base_boxes) for level in grid.levels]
    if per_cell != [1]:
        strides = tuple(level.stride for level in grid.levels)
        raise RecipeError(
            "The assigner 'gaussian' needs one level and one prior per cell; the priors have "
            f"strides {strides} with {tuple(per_cell)} per cell: give them one stride, such as "
            "(4,), and anchors one ratio and one scale."
        )
