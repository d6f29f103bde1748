"""Which cells of a grid have their point inside of a box: rectangles of cells, without pairs."""

import torch
from torch import Tensor

from motedet.priors import Lattices, PriorGrid


def cells_between(lattices: Lattices, cells: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The cells whose points lie strictly between two corners, for each object and lattice.

    A point counts exactly as the comparison of its float32 coordinates with the corners says.

    Args:
        lattices: M lattices.
        cells: [G, M, 4] or [1, M, 4] cells to choose from, from `usable_cells`.
        low: [G, M, 2] or [G, 1, 2] the corner (x, y) before, in pixels.
        high: [G, M, 2] or [G, 1, 2] the corner (x, y) after.

    Returns:
        [G, M, 4] int64: first column and row, then the column and row after the last; an empty
        rectangle does not end after its start.
    """
    start, end = cells[..., :2], cells[..., 2:]
    first = _first_beyond(lattices, low, included=False).maximum(start).minimum(end)
    stop = _first_beyond(lattices, high, included=True).minimum(end).maximum(start)
    return torch.cat((first, stop), dim=-1)


def _first_beyond(lattices: Lattices, limit: Tensor, *, included: bool) -> Tensor:
    """[G, M, 2] the first column and row whose point is above a limit (or equal, if included)."""
    stride, points = lattices.stride[:, None], lattices.points
    guess = ((limit - points) / stride).floor()  # [G, M, 2]
    # The quotient is rounded to float32, and so are the points themselves: the neighbours decide.
    near = guess[..., None] + torch.arange(-1, 2, device=guess.device)  # [G, M, 2, 3]
    at = near * stride[..., None] + points[..., None]
    before = at < limit[..., None] if included else at <= limit[..., None]
    return guess.long() - 1 + before.sum(-1)


def priors_within(grid: PriorGrid, rectangles: Tensor, image: Tensor, num_images: int) -> Tensor:
    """The priors whose cell lies in at least one rectangle of their image.

    The corners of the rectangles are entered in a map, and two running sums fill it: that takes the
    time of the map and of the corners, however large the rectangles are.

    Args:
        grid: P priors on M lattices.
        rectangles: [G, M, 4] from `cells_between`; all priors of a cell share its point.
        image: [G] int64, the image of each object.
        num_images: B.

    Returns:
        [B * P] bool.
    """
    masks: list[Tensor] = []
    lattice = 0
    for level in grid.levels:
        x1, y1, x2, y2 = rectangles[:, lattice].unbind(-1)  # [G] each
        filled = ((x2 > x1) & (y2 > y1)).int()  # [G]
        steps = filled.new_zeros(num_images, level.height + 1, level.width + 1)
        for x, y, sign in ((x1, y1, 1), (x2, y2, 1), (x1, y2, -1), (x2, y1, -1)):
            steps.index_put_((image, y, x), sign * filled, accumulate=True)
        inside = steps.cumsum(1).cumsum(2)[:, :-1, :-1] > 0  # [B, h, w]
        masks.append(inside.flatten(1).repeat_interleave(len(level.base_boxes), dim=1))
        lattice += len(level.base_boxes)
    return torch.cat(masks, dim=1).flatten()
