"""How far a prior may be from an object if it is to be similar enough.

Bounds for the search of candidates, not decisions: they are a little too wide (`SLACK`), so that no
pair is lost to rounding, and every pair found is then compared exactly. With equal sizes every
similarity falls with the distance of the centres, in x and in y, so a bound is one number each.
"""

import math
from typing import Final, Literal

import torch
from torch import Tensor

Similarity = Literal["kl", "kl_10", "exp_kl", "wd", "nwd", "iou", "iof", "giou"]
"""The similarities that have a bound here."""

SLACK: Final = 1e-3  # relative; float32 rounding of a 10 px side at 10,000 px is 2e-4
EPS: Final = 1e-6  # what the Gaussian similarities add to a side
TINY: Final = 1e-37  # below, float32 loses precision: as good as zero
LOG_ZERO: Final = 105.0  # exp(-105) is zero in float32


def overlap_reach(sides: Tensor, prior_sides: Tensor, min_area: Tensor) -> Tensor:
    """Largest distance of the centres at which boxes can share an area.

    Args:
        sides: [G, 1, 2] width and height of the objects.
        prior_sides: [M, 2] of the priors.
        min_area: [G, M] square pixels to be shared, at least 0.

    Returns:
        [G, M, 2] in x and y, in pixels; -inf where they cannot.
    """
    small = torch.minimum(sides, prior_sides).clamp(min=0)  # [G, M, 2]
    need = (1 - SLACK) * min_area[..., None] / small.flip(-1).clamp(min=TINY)  # [G, M, 2]
    reach = (sides.abs() + prior_sides) / 2 - need  # [G, M, 2]
    return reach.where(need <= small * (1 + SLACK), -math.inf)


def iou_reach(sides: Tensor, prior_sides: Tensor, threshold: Tensor) -> Tensor:
    """Largest distance of the centres at which the IoU can reach a threshold, or be above 0.

    Args:
        sides: [G, 1, 2] width and height of the objects.
        prior_sides: [M, 2] of the priors.
        threshold: [G].

    Returns:
        [G, M, 2] in x and y, in pixels; -inf where it cannot.
    """
    threshold = threshold.clamp(min=0)[:, None]  # [G, 1]
    areas = sides.prod(-1) + prior_sides.prod(-1)  # [G, M]
    return overlap_reach(sides, prior_sides, areas * threshold / (1 + threshold))


def similarity_reach(
    metric: Similarity,
    sides: Tensor,
    prior_sides: Tensor,
    threshold: Tensor,
    *,
    nwd_constant: float,
) -> Tensor:
    """Largest distance of the centres at which a similarity can reach a threshold.

    Pairs farther apart than the answer to a threshold of 0 or less either do not exist or have a
    similarity of exactly 0 in float32.

    Args:
        metric: the similarity.
        sides: [G, 1, 2] width and height of the objects.
        prior_sides: [M, 2] of the priors.
        threshold: [G], -inf for any.
        nwd_constant: C of NWD in pixels.

    Returns:
        [G, M, 2] in x and y, in pixels; -inf where it cannot.
    """
    if metric in ("iou", "iof"):
        return iou_reach(sides, prior_sides, threshold)
    if metric == "giou":
        return _giou_reach(sides, prior_sides, threshold)
    inverse = 1 / threshold.clamp(min=TINY)[:, None]  # [G, 1]
    logarithm = torch.where(threshold[:, None] < TINY, LOG_ZERO, inverse.log().clamp(min=0))
    if metric == "wd":
        return _wasserstein_reach(sides, prior_sides, inverse - 1)
    if metric == "nwd":
        return _wasserstein_reach(sides, prior_sides, (nwd_constant * logarithm).square())
    if metric == "exp_kl":
        return _kl_reach(sides, prior_sides, 10 * logarithm)
    return _kl_reach(sides, prior_sides, inverse - (10 if metric == "kl_10" else 1))


def similarity_distance_reach(
    sides: Tensor, prior_sides: Tensor, threshold: Tensor, *, m: float, n: float
) -> Tensor:
    """Largest distance of the centres at which SimD can reach a threshold, or be above 0.

    Args:
        sides: [G, 1, 2] width and height of the objects.
        prior_sides: [M, 2] of the priors.
        threshold: [G], at most 1.
        m: weight of x and of the widths.
        n: weight of y and of the heights.

    Returns:
        [G, M, 2] in x and y, in pixels; -inf where it cannot.
    """
    weight = sides.new_tensor((m, n)) / (sides.abs() + prior_sides + EPS)  # [G, M, 2]
    shape = ((sides - prior_sides) * weight).square().sum(-1).sqrt()  # [G, M]
    largest = torch.where(threshold < TINY, LOG_ZERO, -threshold.clamp(min=TINY).log())  # [G]
    left = largest[:, None] * (1 + SLACK) + SLACK - shape * (1 - SLACK)  # [G, M]
    return (left[..., None] / weight).where(left[..., None] >= 0, -math.inf)


def _kl_reach(sides: Tensor, prior_sides: Tensor, largest: Tensor) -> Tensor:
    """[G, M, 2] from 2 KL + 2 = sum over x and y of (p / g)^2 + 4 (d / g)^2 - ln (p / g)^2."""
    sides, prior_sides = sides.abs() + EPS, prior_sides + EPS
    square = (prior_sides / sides).square()  # [G, M, 2]
    largest = largest * (1 + SLACK) + SLACK  # [G, 1]
    left = 2 * largest + 2 - (square - square.log()).sum(-1)  # [G, M]
    reach = sides / 2 * left.clamp(min=0).sqrt()[..., None]  # [G, M, 2]
    return reach.where(left[..., None] >= 0, -math.inf)


def _wasserstein_reach(sides: Tensor, prior_sides: Tensor, largest: Tensor) -> Tensor:
    """[G, M, 2] from W = d^2 + (difference of the sides)^2 / 4."""
    largest = largest * (1 + SLACK) ** 2 + SLACK  # [G, 1]
    left = largest - (sides - prior_sides).square().sum(-1) / 4  # [G, M]
    reach = left.clamp(min=0).sqrt().where(left >= 0, -math.inf)  # [G, M]
    return reach[..., None].expand(-1, -1, 2)


def _giou_reach(sides: Tensor, prior_sides: Tensor, threshold: Tensor) -> Tensor:
    """[G, M, 2] from GIoU = IoU - 1 + union / hull <= largest IoU - 1 + (sum of areas) / hull."""
    sides = sides.clamp(min=0)
    areas = sides.prod(-1) + prior_sides.prod(-1) + 10 * EPS  # [G, M]
    shared = torch.minimum(sides, prior_sides).prod(-1)  # [G, M]
    best = shared / (areas - shared) + SLACK  # [G, M] IoU, which GIoU does not exceed
    share = threshold[:, None] + 1 - best  # [G, M] of areas in hull
    hull = (areas / share.clamp(min=TINY)).where(share > 0, math.inf)  # [G, M]
    across = torch.maximum(sides, prior_sides).flip(-1)  # [G, M, 2]
    reach = hull[..., None] / across - (sides + prior_sides) / 2  # [G, M, 2]
    reach = reach * (1 + SLACK) + SLACK
    return reach.where((threshold[:, None] <= best)[..., None], -math.inf)
