"""How well boxes that are predicted at points of a grid fit any object.

A predicted box surrounds its point. So which boxes an object may meet follows from where their
points are, and from how far boxes reach: boxes are sorted by image, level, reach up to a factor of
two, and place, and what an object may meet is a few runs of them, one for each row of points.
"""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from motedet.assign.pairs import MARGIN
from motedet.geometry import aligned_iou, decode_ltrb
from motedet.priors import PriorGrid
from motedet.structures import PackedTargets, Pairs

REACHES: Final = 10  # classes of reach: below 1/4, 1/2, 1 ... 64 strides; the last is for the rest
MAX_MEETINGS: Final = 1 << 17  # pairs handled at once


@torch.no_grad()
def best_iou(
    grid: PriorGrid, targets: PackedTargets, image: Tensor, prior: Tensor, ltrb: Tensor
) -> Tensor:
    """The highest IoU that predicted boxes have with any object of their image.

    Args:
        grid: P priors, one per cell.
        targets: G objects of B images.
        image: [S] int64, of each box.
        prior: [S] int64, the point that it is predicted at.
        ltrb: [S, 4] distances from the point to its sides, in pixels.

    Returns:
        [S] in [0, 1]; 0 where a box meets no object.
    """
    boxes = decode_ltrb(grid.points_at(prior), ltrb)  # [S, 4]
    gt_boxes, best = targets.boxes.to(boxes.dtype), boxes.new_zeros(len(boxes))
    for pairs in _near(grid, targets, image, prior, ltrb):
        iou = aligned_iou(boxes[pairs.prior], gt_boxes[pairs.gt])  # [E]
        best.scatter_reduce_(0, pairs.prior, iou, "amax")
    return best


def _near(
    grid: PriorGrid, targets: PackedTargets, image: Tensor, prior: Tensor, ltrb: Tensor
) -> Iterator[Pairs]:
    """The pairs that may share an area, `prior` being rows of the boxes; parts of bounded length.

    All pairs of an object, a level and a row of points are in one part.
    """
    level = torch.bucketize(prior, prior.new_tensor(grid.level_starts), right=True) - 1  # [S]
    stride = grid.strides(prior.device)[prior]  # [S]
    exponent = torch.frexp((ltrb.amax(1) / stride).float()).exponent.long() + 2
    kind = level * REACHES + exponent.clamp(0, REACHES - 1)  # [S] in [0, T)
    num_kinds = len(grid.levels) * REACHES
    reach = ltrb.new_full((num_kinds, 4), -torch.inf)
    reach.scatter_reduce_(0, kind[:, None].expand_as(ltrb), ltrb, "amax")  # [T, 4]
    key, order = ((image * num_kinds + kind) * grid.num_priors + prior).sort()  # [S] each

    gt, kind, first, last = _windows(grid, targets, reach)  # [W], [W], [W, 2], [W, 2]
    steps = grid.lattices(prior.device).steps[kind // REACHES]  # [W, 2]
    rows = last[:, 1] - first[:, 1] + 1  # [W]
    window = torch.arange(len(gt), device=gt.device).repeat_interleave(rows)  # [R]
    row = torch.arange(len(window), device=gt.device) - (rows.cumsum(0) - rows)[window]
    start = (targets.image_index[gt] * num_kinds + kind) * grid.num_priors  # [W]
    start = start + grid.lattices(prior.device).first[kind // REACHES]
    start = start[window] + (first[window, 1] + row) * steps[window, 1]  # [R] of the row of points
    begin = torch.searchsorted(key, start + first[window, 0] * steps[window, 0])
    end = torch.searchsorted(key, start + last[window, 0] * steps[window, 0], right=True)
    counts = end - begin  # [R]

    total = int(counts.sum())  # How long the list gets is a number that the host has to know.
    bounds = []
    if total > MAX_MEETINGS:
        bounds = (counts.cumsum(0) // MAX_MEETINGS).bincount().cumsum(0)[:-1].tolist()
    for part in torch.arange(len(counts), device=gt.device).tensor_split(bounds):
        length = counts[part]
        run = torch.arange(len(part), device=gt.device).repeat_interleave(length)  # [E]
        place = torch.arange(len(run), device=gt.device) - (length.cumsum(0) - length)[run]
        yield Pairs(order[begin[part][run] + place], gt[window[part]][run])


def _windows(
    grid: PriorGrid, targets: PackedTargets, reach: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where the points are whose boxes may meet an object, for each kind of boxes [T, 4].

    Returns:
        The object [W] and the kind [W] of each window, its first column and row [W, 2], and its
        last ones.
    """
    lattices, boxes = grid.lattices(reach.device), targets.boxes
    level = torch.arange(len(reach), device=reach.device) // REACHES  # [T]
    stride, corner = lattices.stride[level, None], lattices.points[level]  # [T, 1], [T, 2]
    low = boxes[:, None, :2] - reach[:, 2:] - corner  # [G, T, 2]: right and bottom side reach it
    high = boxes[:, None, 2:] + reach[:, :2] - corner
    first = ((low - MARGIN) / stride).ceil().clamp(min=0)
    last = ((high + MARGIN) / stride).floor().minimum(lattices.cells[level] - 1)
    gt, kind = (last >= first).all(-1).nonzero(as_tuple=True)
    return gt, kind, first[gt, kind].long(), last[gt, kind].long()
