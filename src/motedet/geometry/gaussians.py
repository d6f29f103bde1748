"""Boxes compared as Gaussians: mean at the centre, covariance diag((w / 2)^2, (h / 2)^2).

Unlike IoU, these similarities change smoothly when a tiny box moves off its object. Wasserstein and
NWD: Wang et al. 2021 (arXiv 2110.13389); Kullback-Leibler on receptive fields: Xu et al. 2022, RFLA
(arXiv 2208.08738). Assignment takes exact ties at face value, so the float32 order of operations is
that of the released code: `EPS` is added to every side of both boxes, sums run left to right.

The overlap measures here (`iou`, `giou`, ...) are those of the same code and guard their
denominators differently from `motedet.geometry.iou`.
"""

import math
from collections.abc import Callable
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from motedet.errors import check_boxes
from motedet.geometry.boxes import box_area, corners
from motedet.geometry.iou import aligned_intersection, hull_sides

EPS: Final = 1e-6

Similarity = Literal[
    "kl",
    "kl_10",
    "exp_kl",
    "wd",
    "nwd",
    "iou",
    "iof",
    "giou",
    "normalized_giou",
    "diou",
    "ciou",
]
"""How an object and a prior are compared; larger is more similar."""

NWDMode = Literal["exp", "sqrt", "log", "norm_sqrt", "w2"]


def pairwise_similarity(
    metric: Similarity, gt_boxes: Tensor, prior_boxes: Tensor, *, nwd_constant: float = 12.8
) -> Tensor:
    """Similarity of every object with every prior, bit-equal to `aligned_similarity`.

    Args:
        metric: the measure.
        gt_boxes: [G, 4] xyxy in pixels.
        prior_boxes: [N, 4] xyxy in pixels.
        nwd_constant: C of NWD in pixels, about the mean object size; the default is AI-TOD's.

    Returns:
        [G, N].
    """
    check_boxes(gt_boxes, "gt_boxes")
    check_boxes(prior_boxes, "prior_boxes")
    return aligned_similarity(
        metric, gt_boxes[:, None], prior_boxes[None], nwd_constant=nwd_constant
    )


def aligned_similarity(
    metric: Similarity, gt_boxes: Tensor, prior_boxes: Tensor, *, nwd_constant: float = 12.8
) -> Tensor:
    """Similarity of corresponding objects and priors.

    Args:
        metric: the measure. `iof` is the released code's, which is its `iou`; the intersection over
            the first area is `motedet.geometry.aligned_iof`.
        gt_boxes: [E, 4] xyxy in pixels.
        prior_boxes: [E, 4] xyxy in pixels.
        nwd_constant: C of NWD in pixels, about the mean object size; the default is AI-TOD's.

    Returns:
        [E].

    Raises:
        ValueError: if there is no such measure.
    """
    if metric in _OVERLAPS:
        return _OVERLAPS[metric](gt_boxes, prior_boxes)
    if metric == "wd":
        return 1 / (1 + wasserstein(gt_boxes, prior_boxes))
    if metric == "nwd":
        return torch.exp(-torch.sqrt(wasserstein(gt_boxes, prior_boxes)) / nwd_constant)
    if metric == "kl":
        return 1 / (1 + kl_divergence(gt_boxes, prior_boxes))
    if metric == "kl_10":
        return 1 / (10 + kl_divergence(gt_boxes, prior_boxes))
    if metric == "exp_kl":
        return torch.exp(-kl_divergence(gt_boxes, prior_boxes) / 10)
    raise ValueError(f"unknown similarity {metric!r}; use one of {get_args(Similarity)}.")


def kl_divergence(gt_boxes: Tensor, prior_boxes: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the prior's Gaussian from the object's (RFLA, eq. 4).

    The object's sides are in the denominators: at equal offset a small object is farther away.

    Args:
        gt_boxes: [E, 4] xyxy in pixels.
        prior_boxes: [E, 4] xyxy in pixels.

    Returns:
        [E], 0 for equal boxes up to rounding.
    """
    dx, dy = _offsets(gt_boxes, prior_boxes)
    w1, h1 = _sides(gt_boxes, EPS)
    w2, h2 = _sides(prior_boxes, EPS)
    w1, h1, w2, h2 = w1**2, h1**2, w2**2, h2**2
    return (
        w2 / w1
        + h2 / h1
        + 4 * dx**2 / w1
        + 4 * dy**2 / h1
        + torch.log(w1 / w2)
        + torch.log(h1 / h2)
        - 2
    ) / 2


def wasserstein(boxes: Tensor, others: Tensor, *, eps: float = EPS) -> Tensor:
    """Squared 2-Wasserstein distance of corresponding boxes as Gaussians (NWD, eq. 6).

    Args:
        boxes: [E, 4] xyxy in pixels.
        others: [E, 4] xyxy in pixels.
        eps: added to every side and to the squared centre distance.

    Returns:
        [E] in square pixels, at least `eps`.
    """
    w1, h1 = _sides(boxes, eps)
    w2, h2 = _sides(others, eps)
    size_distance = ((w1 - w2) ** 2 + (h1 - h2) ** 2) / 4  # [E]
    return squared_center_distance(boxes, others, eps=eps) + size_distance


def squared_center_distance(boxes: Tensor, others: Tensor, *, eps: float = EPS) -> Tensor:
    """Squared distance between the centres of corresponding boxes.

    Args:
        boxes: [E, 4] xyxy in pixels.
        others: [E, 4] xyxy in pixels.
        eps: added, so that its square root has a gradient.

    Returns:
        [E] in square pixels, at least `eps`.
    """
    dx, dy = _offsets(boxes, others)
    return dx * dx + dy * dy + eps


def nwd_loss(
    pred_boxes: Tensor,
    target_boxes: Tensor,
    *,
    mode: NWDMode = "exp",
    constant: float = 12.8,
    gamma: float = 1.0,
    eps: float = 1e-7,
) -> Tensor:
    """Loss from the Wasserstein distance W of corresponding boxes.

    Args:
        pred_boxes: [N, 4] xyxy in pixels.
        target_boxes: [N, 4] xyxy in pixels.
        mode: `exp` 1 - exp(-sqrt(W) / constant), `sqrt` sqrt(W), `log` ln(1 + W), `norm_sqrt`
            1 - 1 / (gamma + sqrt(W)), `w2` W.
        constant: C of NWD in pixels, about the mean object size.
        gamma: of `norm_sqrt`.
        eps: added to every side and to the squared centre distance.

    Returns:
        [N], at least 0.

    Raises:
        ValueError: if there is no such mode.
    """
    distance = wasserstein(pred_boxes, target_boxes, eps=eps)  # [N]
    if mode == "exp":
        return 1 - torch.exp(-torch.sqrt(distance) / constant)
    if mode == "sqrt":
        return torch.sqrt(distance)
    if mode == "log":
        return torch.log(distance + 1)
    if mode == "norm_sqrt":
        return 1 - 1 / (gamma + torch.sqrt(distance))
    if mode == "w2":
        return distance
    raise ValueError(f"unknown NWD loss mode {mode!r}; use one of {get_args(NWDMode)}.")


def _offsets(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """[E] and [E], difference of the centres."""
    x1, y1, x2, y2 = corners(boxes, "boxes")
    ox1, oy1, ox2, oy2 = corners(others, "others")
    return (x1 + x2) / 2 - (ox1 + ox2) / 2, (y1 + y2) / 2 - (oy1 + oy2) / 2


def _sides(boxes: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """[E] and [E], width and height plus `eps`."""
    x1, y1, x2, y2 = corners(boxes, "boxes")
    return x2 - x1 + eps, y2 - y1 + eps


def _iou_and_union(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """[E] and [E]; unlike the classical form, `EPS` is added to the union before it is clamped."""
    inter = aligned_intersection(boxes, others)
    union = (box_area(boxes) + box_area(others) - inter + EPS).clamp(min=EPS)
    return inter / union, union


def _iou(boxes: Tensor, others: Tensor) -> Tensor:
    """[E] in [0, 1]."""
    return _iou_and_union(boxes, others)[0]


def _giou(boxes: Tensor, others: Tensor) -> Tensor:
    """[E] in [-1, 1]."""
    iou, union = _iou_and_union(boxes, others)
    hull_width, hull_height = hull_sides(boxes, others)
    hull = (hull_width * hull_height).clamp(min=EPS)  # [E]
    return iou - (hull - union) / hull


def _normalized_giou(boxes: Tensor, others: Tensor) -> Tensor:
    """[E] in [0, 1]."""
    return (1 + _giou(boxes, others)) / 2


def _center_penalty(boxes: Tensor, others: Tensor) -> Tensor:
    """[E] squared distance of the centres over the squared diagonal of the hull."""
    hull_width, hull_height = hull_sides(boxes, others)
    diagonal = (hull_width**2 + hull_height**2).clamp(min=EPS)  # [E]
    return squared_center_distance(boxes, others) / diagonal


def _diou(boxes: Tensor, others: Tensor) -> Tensor:
    """[E] in [-1, 1]."""
    return (_iou(boxes, others) - _center_penalty(boxes, others)).clamp(-1, 1)


def _ciou(boxes: Tensor, others: Tensor) -> Tensor:
    """[E] in [-1, 1]."""
    iou = _iou(boxes, others)
    w1, h1 = _sides(boxes, EPS)
    w2, h2 = _sides(others, EPS)
    unlike = 4 / math.pi**2 * (torch.atan(w2 / h2) - torch.atan(w1 / h1)) ** 2  # [E]
    aspect_penalty = unlike**2 / (1 - iou + unlike).clamp(min=EPS)  # [E]
    return (iou - (_center_penalty(boxes, others) + aspect_penalty)).clamp(-1, 1)


_OVERLAPS: Final[dict[Similarity, Callable[[Tensor, Tensor], Tensor]]] = {
    "iou": _iou,
    "iof": _iou,
    "giou": _giou,
    "normalized_giou": _normalized_giou,
    "diou": _diou,
    "ciou": _ciou,
}
