"""Which points may learn from an object in AutoAssign (Zhu et al. 2020, arXiv 2007.03496).

An object's bag are the points inside of it. Within the bag a centre prior, a Gaussian around the
object's centre in strides of each level, says how much a point is worth before any prediction.
"""

import math
from typing import Final

import torch
from torch import Tensor

from motedet.assign.pairs import nearest_block, pairs_between, usable_cells
from motedet.geometry import encode_ltrb
from motedet.priors import PriorGrid
from motedet.structures import Assignment, PackedTargets, Pairs

SLACK: Final = 1e-6  # of the logarithm of a prior: float32 rounding makes unequal places equal


def inside_pairs(grid: PriorGrid, targets: PackedTargets) -> Pairs:
    """Every point and object that strictly contains it.

    Args:
        grid: P priors, one per cell, of which only the points matter.
        targets: G objects of B images.

    Returns:
        E pairs by rising object and, within an object, by rising point.
    """
    boxes = targets.boxes.float()
    lattices = grid.lattices(boxes.device)
    cells = usable_cells(grid, targets, targets.image_index)
    low = boxes[:, None, :2] - lattices.points  # [G, M, 2]
    high = boxes[:, None, 2:] - lattices.points
    parts = []
    for pairs in pairs_between(grid, cells, low, high):
        ltrb = encode_ltrb(grid.points_at(pairs.prior), boxes[pairs.gt])  # [E, 4]
        parts.append(pairs[ltrb.amin(dim=-1) > 0])
    return _joined(parts)


def center_weights(
    grid: PriorGrid, targets: PackedTargets, pairs: Pairs, mean: Tensor, sigma: Tensor
) -> Tensor:
    """The centre prior of pairs: eq. 6, exp(-(d - mean)^2 / (2 sigma^2)) in x times that in y.

    Args:
        grid: P priors.
        targets: G objects of B images.
        pairs: E of them.
        mean: [K, 2] per class, in strides, of d, the way from an object's centre to a point.
        sigma: [K, 2] per class, in strides.

    Returns:
        [E] in [0, 1], with a gradient to `mean` and `sigma`.
    """
    boxes, label = targets.boxes[pairs.gt], targets.labels[pairs.gt]
    center = (boxes[:, :2] + boxes[:, 2:]) / 2  # [E, 2]
    stride = grid.strides(boxes.device)[pairs.prior, None]  # [E, 1]
    way = (grid.points_at(pairs.prior) - center) / stride - mean[label]  # [E, 2]
    factors = torch.exp(-(way**2) / (2 * sigma[label] ** 2))  # [E, 2]
    return factors[:, 0] * factors[:, 1]


def assigned_pairs(match: Assignment) -> Pairs:
    """Every point and the object that it is assigned, by rising object."""
    image, prior = match.positive.nonzero().unbind(1)  # [E]
    gt, order = match.gt_index[image, prior].sort(stable=True)
    return Pairs(prior[order], gt)


@torch.no_grad()
def weighted_pairs(
    grid: PriorGrid, targets: PackedTargets, *, mean: Tensor, sigma: Tensor
) -> Pairs:
    """Every point and object whose centre prior is not 0 in the arithmetic of `sigma`.

    Args:
        grid: P priors.
        targets: G objects of B images.
        mean: [K, 2] as in `center_weights`.
        sigma: [K, 2].

    Returns:
        E pairs by rising object and, within an object, by rising point.
    """
    rows = torch.arange(len(targets.boxes), device=sigma.device)
    none = sigma.new_zeros(len(rows))
    return _pairs_above(grid, targets, rows, mean=mean, sigma=sigma, least=none)


@torch.no_grad()
def forced_pairs(
    grid: PriorGrid, targets: PackedTargets, taken: Pairs, mean: Tensor, sigma: Tensor, *, topk: int
) -> Pairs:
    """The points of largest centre prior over all levels, for objects that have no point.

    Of points with the same prior those of lowest index come first.

    Args:
        grid: P priors.
        targets: G objects of B images.
        taken: the points that objects have.
        mean: [K, 2] as in `center_weights`.
        sigma: [K, 2].
        topk: points per object; fewer if the grid has fewer.

    Returns:
        Pairs by rising object, those of `taken` included.
    """
    has_point = torch.zeros(len(targets.boxes), dtype=torch.bool, device=taken.gt.device)
    has_point[taken.gt] = True
    rows = (~has_point).nonzero()[:, 0]  # [F]
    enough = _kth_nearby(grid, targets, rows, mean, sigma, topk)  # [F]
    likely = _pairs_above(grid, targets, rows, mean=mean, sigma=sigma, least=enough)
    # Should fewer than k points have a prior above 0, the first of the grid's others follow.
    first = torch.arange(min(2 * topk - 1, grid.num_priors), device=rows.device)
    others = Pairs(first.repeat(len(rows)), rows.repeat_interleave(len(first)))
    others = others[center_weights(grid, targets, others, mean, sigma) == 0]
    pairs = _joined([likely, others])
    weight = center_weights(grid, targets, pairs, mean, sigma)  # [E]
    order = pairs.prior.argsort(stable=True)
    order = order[weight[order].argsort(descending=True, stable=True)]
    order = order[pairs.gt[order].argsort(stable=True)]  # by object, then prior, then index
    gt = pairs.gt[order]
    rank = torch.arange(len(order), device=order.device) - torch.searchsorted(gt, gt)
    both = _joined([taken, pairs[order[rank < topk]]])
    return both[both.gt.argsort(stable=True)]


def _kth_nearby(
    grid: PriorGrid, targets: PackedTargets, rows: Tensor, mean: Tensor, sigma: Tensor, topk: int
) -> Tensor:
    """[F] the k-th largest centre prior or less, from the points around where it is largest."""
    lattices, boxes, label = grid.lattices(rows.device), targets.boxes[rows], targets.labels[rows]
    cells = usable_cells(grid, targets, targets.image_index[rows])
    peak = mean[label][:, None] * lattices.stride[:, None]  # [F, M, 2]
    peak = peak + (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    size = math.isqrt(topk - 1) + 1
    prior = nearest_block(lattices, cells, peak, size)[0].flatten(1)  # [F, S], -1 for none
    gt = rows[:, None].expand_as(prior).flatten()  # [F * S]
    pairs = Pairs(prior.flatten().clamp(min=0), gt)
    weight = center_weights(grid, targets, pairs, mean, sigma).view_as(prior)  # [F, S]
    return weight.where(prior >= 0, 0).topk(topk, dim=1).values[:, -1]


def _pairs_above(
    grid: PriorGrid,
    targets: PackedTargets,
    rows: Tensor,
    *,
    mean: Tensor,
    sigma: Tensor,
    least: Tensor,
) -> Pairs:
    """Points whose centre prior for the objects `rows` [F] is positive and at least `least` [F].

    They lie in an ellipse, which is in a rectangle of cells on each level: the prior along one axis
    is at least that along both.
    """
    lattices, boxes = grid.lattices(rows.device), targets.boxes[rows]
    label, stride = targets.labels[rows], lattices.stride[:, None]  # [F], [M, 1]
    limits = torch.finfo(sigma.dtype)
    # priors below the smallest subnormal number are 0
    least = least.to(sigma.dtype).clamp(min=limits.smallest_normal * limits.eps)
    strides_away = (-2 * (least.double().log() - SLACK)).sqrt() * (1 + SLACK)  # [F] per sigma
    reach = (strides_away[:, None] * sigma[label].abs())[:, None] * stride  # [F, M, 2]
    place = (boxes[:, :2] + boxes[:, 2:])[:, None] / 2 + mean[label][:, None] * stride
    place = place - lattices.points  # [F, M, 2]
    cells = usable_cells(grid, targets, targets.image_index[rows])
    parts = []
    for pairs in pairs_between(grid, cells, place - reach, place + reach):
        named = Pairs(pairs.prior, rows[pairs.gt])
        weight = center_weights(grid, targets, named, mean, sigma)  # [E]
        parts.append(named[(weight >= least[pairs.gt]) & (weight > 0)])
    return _joined(parts)


def _joined(parts: list[Pairs]) -> Pairs:
    """One list of pairs from several."""
    return Pairs(torch.cat([p.prior for p in parts]), torch.cat([p.gt for p in parts]))
