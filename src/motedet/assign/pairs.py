"""Candidate pairs of priors and objects, found in closed form on the grid, and choices among them.

A prior matters to an object only near it, and priors lie on lattices: so the priors that an object
may care about are a rectangle of cells per lattice, and a whole batch is one flat list of pairs.
Memory is bounded whatever the objects are: long lists come in parts.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from motedet.geometry import aligned_iof
from motedet.priors import Lattices, PriorGrid
from motedet.structures import IGNORED, Assignment, PackedTargets, Pairs, Size

MAX_PAIRS: Final = 1 << 20  # pairs handled at once, tens of MB; only huge objects need more
MARGIN: Final = 0.02  # pixels by which windows are widened: float32 rounding below 64k pixels


def usable_cells(grid: PriorGrid, targets: PackedTargets, image_index: Tensor) -> Tensor:
    """The rectangle of cells of each lattice that take part, for each object.

    Args:
        grid: M lattices.
        targets: B images, with the rules for what takes part.
        image_index: [G] image of each object.

    Returns:
        [G, M, 4] int64: first column and row, then the column and row after the last; an empty
        rectangle ends before it starts. [1, M, 4] where that is the same for all objects.
    """
    lattices = grid.lattices(image_index.device)
    start, end = torch.zeros_like(lattices.cells)[None], lattices.cells[None]  # [1, M, 2] each
    if targets.valid_sizes is not None:
        sizes = torch.tensor(targets.valid_sizes, device=end.device).flip(-1)  # [B, 2]
        stride = lattices.stride[:, None].long()  # [M, 1]
        covering = (sizes[:, None] + stride - 1).div(stride, rounding_mode="floor")  # [B, M, 2]
        end = end.minimum(covering)
    if targets.allowed_border is not None:
        within = _cells_within(lattices, targets.image_sizes, targets.allowed_border)  # [B, M, 4]
        start, end = start.maximum(within[..., :2]), end.minimum(within[..., 2:])
    cells = torch.cat((start.expand_as(end), end), dim=-1)  # [B, M, 4]
    return cells if len(cells) == 1 else cells[image_index]


def _cells_within(lattices: Lattices, sizes: Sequence[Size], border: float) -> Tensor:
    """[B, M, 4] rectangles of the cells whose boxes `PriorGrid.within` lets take part.

    Each side of a box rises with its cell, so each limit is the first cell where it is reached.
    """
    corner = torch.tensor(sizes, device=lattices.boxes.device).flip(-1) + border  # [B, 2]
    limits = torch.cat((torch.full_like(corner, -border), corner), dim=1)[:, None].float()
    stride = lattices.stride[:, None]  # [M, 1]
    guess = ((limits - lattices.boxes) / stride).ceil()  # [B, M, 4]
    # The box table is rounded to float32, and so is the guess: the neighbours decide.
    near = guess[..., None] + torch.arange(-1, 2, device=guess.device)  # [B, M, 4, 3]
    below = near * stride[..., None] + lattices.boxes[..., None] < limits[..., None]
    return (guess - 1).long() + below.sum(-1)


def usable_priors(grid: PriorGrid, targets: PackedTargets) -> Tensor | None:
    """The priors that take part.

    Args:
        grid: P priors.
        targets: B images, with the rules for what takes part.

    Returns:
        [B, P] bool; None if all do.
    """
    device, usable = targets.boxes.device, None
    if targets.valid_sizes is not None:
        usable = grid.inside(targets.valid_sizes, device)
    if targets.allowed_border is not None:
        within = grid.within(targets.image_sizes, targets.allowed_border, device)
        usable = within if usable is None else usable & within
    return usable


def nearest_block(
    lattices: Lattices, cells: Tensor, centers: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """The block of size x size cells around a place, on each lattice, moved into the usable part.

    Args:
        lattices: with any leading shape [...].
        cells: [..., 4] usable cells, from `usable_cells`.
        centers: [..., 2] places (x, y) in pixels.
        size: cells per side.

    Returns:
        [..., size * size] priors in row order, -1 where fewer cells than that are usable, and
        [..., 2] the first column and row.
    """
    at = (centers - lattices.centers) / lattices.stride[..., None]  # [..., 2] in cells
    start, end = cells[..., :2], cells[..., 2:]
    first = (at - size / 2).ceil().long().minimum(end - size).maximum(start)  # [..., 2]
    cell = first[..., None] + torch.arange(size, device=first.device)  # [..., 2, size]
    part = cell * lattices.steps[..., None]  # [..., 2, size]
    prior = part[..., 0, None, :] + part[..., 1, :, None] + lattices.first[..., None, None]
    usable = cell < end[..., None]  # [..., 2, size]
    usable = usable[..., 0, None, :] & usable[..., 1, :, None]  # [..., size, size]
    return prior.where(usable, -1).flatten(-2), first


def pairs_between(grid: PriorGrid, cells: Tensor, low: Tensor, high: Tensor) -> Iterator[Pairs]:
    """Every prior whose place on its lattice lies in a rectangle, for each object and lattice.

    Args:
        grid: M lattices.
        cells: [G, M, 4] or [1, M, 4], from `usable_cells`.
        low: [G, M, 2] smallest (x, y) wanted, in pixels from the prior in cell (0, 0).
        high: [G, M, 2] largest (x, y) wanted, included; below `low` where nothing is.

    Yields:
        Pairs by rising object, all pairs of an object in one part; at least one part.
    """
    lattices = grid.lattices(low.device)
    stride = lattices.stride[:, None]  # [M, 1]
    start, end = cells[..., :2].to(low.dtype), cells[..., 2:].to(low.dtype)  # [G or 1, M, 2]
    first = ((low - MARGIN) / stride).ceil().maximum(start)  # [G, M, 2]
    last = ((high + MARGIN) / stride).floor().minimum(end - 1)  # [G, M, 2]
    extent = last - first + 1  # [G, M, 2]
    gt, lattice = (extent > 0).all(-1).nonzero(as_tuple=True)  # [W], W windows
    first, extent = first[gt, lattice].long(), extent[gt, lattice].long()  # [W, 2]
    ends = extent.prod(-1).cumsum(0)  # [W] pairs up to and with each window
    # How long the list gets is the one number that the host has to know.
    total = int(ends[-1]) if len(ends) else 0
    bounds: list[int] = []
    if total > MAX_PAIRS:
        upto = ends.new_zeros(len(low)).scatter_reduce_(0, gt, ends, "amax")  # [G]
        bounds = (upto[gt] // MAX_PAIRS).bincount().cumsum(0)[:-1].tolist()
    for part in torch.arange(len(gt), device=gt.device).tensor_split(bounds):
        yield _pairs_of(lattices, gt[part], lattice[part], first[part], extent[part])


def _pairs_of(
    lattices: Lattices, gt: Tensor, lattice: Tensor, first: Tensor, extent: Tensor
) -> Pairs:
    """All cells of W windows: objects [W], lattices [W], first cells [W, 2], extents [W, 2]."""
    counts = extent.prod(-1)  # [W]
    ends = counts.cumsum(0)  # [W]
    window = torch.arange(len(gt), device=gt.device).repeat_interleave(counts)  # [E]
    place = torch.arange(len(window), device=gt.device) - (ends - counts)[window]  # [E]
    columns = extent[:, 0][window]  # [E]
    row = place.div(columns, rounding_mode="floor")  # [E]
    steps = lattices.steps[lattice]  # [W, 2]
    start = lattices.first[lattice] + (first * steps).sum(-1)  # [W]
    prior = (
        start[window] + (place - row * columns) * steps[:, 0][window] + row * steps[:, 1][window]
    )
    return Pairs(prior, gt[window])


def covered_priors(
    grid: PriorGrid, targets: PackedTargets, cover: Callable[[Pairs], Tensor], threshold: float
) -> Tensor:
    """Priors of which an ignore box covers too much, in images that have objects.

    As published, ignore boxes count for nothing where there is no object.

    Args:
        grid: P priors.
        targets: I ignore boxes of B images.
        cover: how much of a prior an ignore box covers, [E] for E pairs whose `gt` are rows of the
            ignore boxes; 0 where the two do not meet.
        threshold: largest cover that is still allowed.

    Returns:
        [B * P] bool.
    """
    boxes, image = targets.ignore_boxes, targets.ignore_image_index
    covered = torch.zeros(
        targets.num_images * grid.num_priors, dtype=torch.bool, device=boxes.device
    )
    lattices = grid.lattices(boxes.device)
    center = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2 - lattices.centers  # [I, M, 2]
    reach = ((boxes[:, None, 2:] - boxes[:, None, :2]).abs() + lattices.sides) / 2  # [I, M, 2]
    cells = usable_cells(grid, targets, image)
    occupied = torch.zeros(targets.num_images, dtype=torch.bool, device=boxes.device)
    occupied[targets.image_index] = True
    for pairs in pairs_between(grid, cells, center - reach, center + reach):
        hit = (cover(pairs) > threshold) & occupied[image[pairs.gt]]  # [E]
        covered[(image[pairs.gt] * grid.num_priors + pairs.prior)[hit]] = True
    return covered


def priors_under_ignore_boxes(
    grid: PriorGrid, targets: PackedTargets, max_share: float | None
) -> Tensor | None:
    """Priors of which an ignore box covers more than a share of the area (IoF).

    Args:
        grid: P priors.
        targets: I ignore boxes of B images.
        max_share: largest share that is still allowed; None turns ignore boxes off.

    Returns:
        [B * P] bool; None where nothing can be covered.
    """
    if max_share is None or len(targets.ignore_boxes) == 0:
        return None
    boxes = targets.ignore_boxes.float()

    def share(pairs: Pairs) -> Tensor:
        return aligned_iof(grid.boxes_at(pairs.prior), boxes[pairs.gt])

    return covered_priors(grid, targets, share, max_share)


def segment_kth_largest(values: Tensor, segment: Tensor, k: int, num_segments: int) -> Tensor:
    """The k-th largest value of each segment, equal values counted one by one.

    Args:
        values: [E].
        segment: [E] int64, to which segment each value belongs.
        k: at least 1.
        num_segments: S.

    Returns:
        [S]; -inf where a segment has fewer than k values.
    """
    order = values.argsort(descending=True, stable=True)
    order = order[segment[order].argsort(stable=True)]  # by segment, then falling
    counts = segment.bincount(minlength=num_segments)  # [S]
    wanted = counts.cumsum(0) - counts + (k - 1)  # [S]
    padded = torch.cat((values[order], values.new_full((1,), -math.inf)))  # [E + 1]
    return padded[wanted.where(counts >= k, len(values))]


def conclude(
    grid: PriorGrid, targets: PackedTargets, gt_index: Tensor, quality: Tensor
) -> Assignment:
    """The assignment of a batch from flat tables; priors that take no part are ignored.

    Args:
        grid: P priors.
        targets: B images.
        gt_index: [B * P] int64.
        quality: [B * P], 0 where there is no match.
    """
    shape = (targets.num_images, grid.num_priors)
    gt_index = gt_index.view(shape)
    usable = usable_priors(grid, targets)  # [B, P]
    if usable is not None:
        gt_index = gt_index.where(usable, IGNORED)
    return Assignment(gt_index, quality.view(shape))
