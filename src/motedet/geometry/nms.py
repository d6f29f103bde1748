"""Greedy non-maximum suppression, with the semantics under which results were published.

A box is dropped if its IoU with a better one is above the threshold, strictly. The IoU has no
epsilon here: two boxes of no area give NaN and never suppress each other. Equal scores: lower index
first.

Two relatives: soft-NMS lowers scores instead of dropping boxes (Bodla et al. 2017, arXiv
1704.04503), and NWD takes the place of IoU where boxes are a few pixels wide (Wang et al. 2021,
arXiv 2110.13389).
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor
from torchvision.ops import nms as greedy_nms

from motedet.errors import check_boxes
from motedet.geometry.boxes import box_centers
from motedet.geometry.gaussians import aligned_similarity
from motedet.geometry.iou import aligned_iou
from motedet.structures import Detections

PAIRS: Final = 1 << 18  # compared at once, some 25 MB; more only for one box with more neighbours
ROUNDING: Final = 1e-5  # relative; far above what float32 loses in a distance or its exponential


@dataclass(frozen=True, kw_only=True)
class SoftNMS:
    """How soft-NMS lowers the score of a box that overlaps a better one (Bodla et al. 2017, §3).

    Attributes:
        method: "linear" multiplies by 1 - IoU, only above the IoU threshold; "gaussian" multiplies
            by exp(-IoU^2 / sigma), always.
        sigma: of "gaussian"; smaller is stricter.
        min_score: a box is dropped when its score falls below it.
    """

    method: Literal["linear", "gaussian"] = "linear"
    sigma: float = 0.5
    min_score: float = 1e-3

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not self.sigma > 0:
            raise ValueError(f"sigma must be positive; got {self.sigma}.")
        if not 0 < self.min_score < 1:
            raise ValueError(f"min_score must be in (0, 1); got {self.min_score}.")

    def factors(self, iou: Tensor, iou_thresh: float) -> Tensor:
        """What the scores are multiplied by, [...] in [0, 1], for their IoU [...] with the pick."""
        if self.method == "gaussian":
            return torch.exp(-(iou**2) / self.sigma)
        return torch.where(iou > iou_thresh, 1 - iou, 1.0)


def nms(boxes: Tensor, scores: Tensor, iou_thresh: float) -> Tensor:
    """Suppression regardless of class.

    Args:
        boxes: [N, 4] xyxy in pixels.
        scores: [N].
        iou_thresh: a box is dropped above this IoU with a better one.

    Returns:
        [D] int64 index of what stays, best first.
    """
    check_boxes(boxes, "boxes")
    keep: Tensor = greedy_nms(boxes.float(), scores.float(), iou_thresh)
    return keep


def class_aware_nms(  # noqa: PLR0913 - the published operator has these options
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    iou_thresh: float,
    class_agnostic: bool = False,
    max_num: int | None = None,
    score_thresh: float = 0.0,
    split_above: int = 10000,
    offset_trick: bool = True,
) -> Tensor:
    """Suppression among boxes of the same class.

    The published way moves each class by label * (largest coordinate + 1) and runs once. That lets
    classes collide where coordinates are negative, and costs precision: 80 classes on 800 px round
    boxes to 0.004-0.008 px. `offset_trick=False` runs class by class on the boxes as they are.

    Args:
        boxes: [N, 4] xyxy in pixels.
        scores: [N].
        labels: [N] int64; pyramid levels in a proposal network.
        iou_thresh: a box is dropped above this IoU with a better one.
        class_agnostic: let every class suppress every other.
        max_num: keep at most this many; None for all.
        score_thresh: if positive, drop scores at or below it first.
        split_above: from this many boxes on, run class by class, still on the moved boxes.
        offset_trick: move the classes apart, as published.

    Returns:
        [D] int64 index into the input, best first.
    """
    check_boxes(boxes, "boxes")
    if len(boxes) == 0:
        return labels.new_zeros(0, dtype=torch.int64)
    if offset_trick and not class_agnostic:
        boxes = boxes + (labels.to(boxes) * (boxes.max() + 1))[:, None]  # [N, 4]

    candidates = torch.arange(len(boxes), device=boxes.device)
    if score_thresh > 0:
        candidates = candidates[scores > score_thresh]
    boxes, scores, labels = boxes[candidates], scores[candidates], labels[candidates]
    if class_agnostic or (offset_trick and len(boxes) < split_above):
        keep = nms(boxes, scores, iou_thresh)
    else:
        keep = _nms_per_class(boxes, scores, labels, iou_thresh)
    return candidates[keep[:max_num]]


def multiclass_nms(
    boxes: Tensor,
    scores: Tensor,
    *,
    score_thresh: float,
    iou_thresh: float,
    max_num: int | None = None,
    score_factors: Tensor | None = None,
    offset_trick: bool = True,
) -> tuple[Detections, Tensor]:
    """Detections from the scores of all classes: threshold, then class-aware suppression.

    Args:
        boxes: [N, 4] xyxy in pixels shared by the classes, or [N, 4 * K] one per class.
        scores: [N, K], without a background column.
        score_thresh: keep scores above it, before `score_factors`.
        iou_thresh: a box is dropped above this IoU with a better one of its class.
        max_num: keep at most this many; None for all.
        score_factors: [N] multiplied into the scores after the threshold, such as centre-ness.
        offset_trick: as in `class_aware_nms`.

    Returns:
        The detections, best first, and [D] int64 their places in the flattened scores.
    """
    num_classes = scores.shape[-1]
    index = (scores > score_thresh).flatten().nonzero().flatten()  # [M]
    rows, labels = index // num_classes, index % num_classes
    per_class = boxes.reshape(len(boxes), boxes.shape[-1] // 4, 4).expand(
        -1, num_classes, 4
    )  # [N, K, 4]
    found = per_class[rows, labels]  # [M, 4]
    if score_factors is not None:
        scores = scores * score_factors[:, None]  # [N, K]
    found_scores = scores[rows, labels]  # [M]

    keep = class_aware_nms(
        found,
        found_scores,
        labels,
        iou_thresh=iou_thresh,
        max_num=max_num,
        offset_trick=offset_trick,
    )
    return Detections(found[keep], found_scores[keep], labels[keep]), index[keep]


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    rule: SoftNMS,
    iou_thresh: float,
    max_num: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Soft-NMS among boxes of the same class (Bodla et al. 2017, fig. 2).

    Each round takes the best box left of every class and lowers the scores of the others of its
    class, so there are as many rounds as the largest class has picks.

    Args:
        boxes: [N, 4] xyxy in pixels.
        scores: [N] in [0, 1].
        labels: [N] int64.
        rule: how scores fall.
        iou_thresh: "linear" leaves alone what overlaps at most this much.
        max_num: keep at most this many; None for all.

    Returns:
        [D] int64 index into the input, best first by the lowered scores, and these [D].
    """
    check_boxes(boxes, "boxes")
    if len(boxes) == 0:
        return labels.new_zeros(0, dtype=torch.int64), scores.new_zeros(0)
    table = _table_of_classes(labels)  # [K, M], -1 where a class has no more
    placed = boxes.float()[table]  # [K, M, 4]
    left = scores.float()[table].where(table >= 0, 0.0)  # [K, M], 0 is out
    picks, lowered = [table.new_zeros(0)], [left.new_zeros(0)]
    for _ in range(table.shape[1] if max_num is None else min(max_num, table.shape[1])):
        place = left.argmax(dim=1, keepdim=True)  # [K, 1], the first of equals
        best = left.gather(1, place)  # [K, 1]
        going = (best >= rule.min_score).flatten()  # [K]
        if not going.all():
            table, placed, left = table[going], placed[going], left[going]
            place, best = place[going], best[going]
        if len(table) == 0:
            break
        picks.append(table.gather(1, place).flatten())
        lowered.append(best.flatten())
        pick = placed.take_along_dim(place[..., None], dim=1)  # [K, 1, 4]
        left = left * rule.factors(aligned_iou(pick, placed), iou_thresh)
        left = left.scatter(1, place, 0.0)

    keep, kept_scores = torch.cat(picks), torch.cat(lowered)
    by_index = keep.argsort()
    order = by_index[kept_scores[by_index].argsort(descending=True, stable=True)][:max_num]
    return keep[order], kept_scores[order].to(scores.dtype)


def similarity_nms(
    boxes: Tensor, scores: Tensor, thresh: float, *, nwd_constant: float = 12.8
) -> Tensor:
    """Suppression by NWD instead of IoU, which still tells boxes of a few pixels apart.

    Only boxes that can be similar are compared: NWD > t means centres closer than -C ln(t).

    Args:
        boxes: [N, 4] xyxy in pixels.
        scores: [N].
        thresh: a box is dropped above this NWD with a better one; above 0.
        nwd_constant: C in pixels; the default is AI-TOD's.

    Returns:
        [D] int64 index of what stays, best first.

    Raises:
        ValueError: if the threshold is not positive.
    """
    check_boxes(boxes, "boxes")
    if not thresh > 0:
        raise ValueError(f"thresh must be positive, NWD always is; got {thresh}.")
    order = scores.argsort(descending=True, stable=True)  # [N]
    ranked = boxes[order].float()  # [N, 4], best first
    radius = -nwd_constant * math.log(thresh) if thresh < 1 else 0.0
    by_x, first, last = _windows(ranked, radius + ROUNDING * (radius + nwd_constant))
    alive = torch.ones_like(order, dtype=torch.bool)  # [N]
    for start, end in _runs(last - first):
        rows = alive[start:end].nonzero().flatten() + start  # [R]
        counts = last[rows] - first[rows]  # [R]
        better = rows.repeat_interleave(counts)  # [E]
        offset = counts.cumsum(0) - counts  # [R], where the pairs of a row start
        within = torch.arange(len(better), device=rows.device) - offset.repeat_interleave(counts)
        worse = by_x[first[better] + within]  # [E]
        open_pairs = (worse > better) & alive[worse]
        better, worse = better[open_pairs], worse[open_pairs]
        nwd = aligned_similarity("nwd", ranked[better], ranked[worse], nwd_constant=nwd_constant)
        similar = nwd > thresh
        alive = _without_worse(alive, better[similar], worse[similar], end)
    return order[alive]


def _windows(boxes: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes whose centre is near that of each box along x.

    Args:
        boxes: [N, 4].
        radius: in pixels.

    Returns:
        [N] int64 index of the boxes from left to right, and [N], [N] the range in it of each box.
    """
    x = box_centers(boxes)[:, 0].double().contiguous()  # [N]
    reach = radius + ROUNDING * (boxes.abs().max() if len(boxes) else 0)
    sorted_x, by_x = x.sort()
    first = torch.searchsorted(sorted_x, x - reach)
    return by_x, first, torch.searchsorted(sorted_x, x + reach, right=True)


def _runs(counts: Tensor) -> list[tuple[int, int]]:
    """Consecutive rows (start, end) whose `counts` [N] sum to at most PAIRS, or single rows."""
    runs, start, total = [], 0, 0
    for row, count in enumerate(counts.tolist()):
        if total + count > PAIRS and row > start:
            runs.append((start, row))
            start, total = row, 0
        total += count
    return [*runs, (start, len(counts))] if len(counts) else runs


def _without_worse(alive: Tensor, better: Tensor, worse: Tensor, end: int) -> Tensor:
    """Which boxes stay when kept ones suppress.

    A pair among rows that are still to be decided counts only if its better box stays. Deciding all
    rows again and again from the last answer settles them from the best on; it ends when nothing
    changes, after as many rounds as the longest chain of boxes.

    Args:
        alive: [N] bool, before.
        better: [E] int64, rows before `end`.
        worse: [E] int64, each similar to and after its `better`.
        end: rows before it are decided here.
    """
    kept = alive
    inside = worse < end  # [E]
    inner_better, inner_worse = better[inside], worse[inside]
    while True:
        after = alive.clone()
        after[inner_worse[kept[inner_better]]] = False
        if torch.equal(after, kept):
            break
        kept = after
    kept = kept.clone()
    kept[worse[kept[better]]] = False
    return kept


def _table_of_classes(labels: Tensor) -> Tensor:
    """[K, M] int64: the members of each class that occurs in labels [N], ascending, then -1."""
    order = labels.argsort(stable=True)  # [N]
    _, row, counts = torch.unique_consecutive(
        labels[order], return_inverse=True, return_counts=True
    )
    column = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[row]
    table = order.new_full((len(counts), int(counts.max())), -1)
    table[row, column] = order
    return table


def _nms_per_class(boxes: Tensor, scores: Tensor, labels: Tensor, iou_thresh: float) -> Tensor:
    """[D] index of what stays when each class is on its own, best first."""
    survives = torch.zeros_like(labels, dtype=torch.bool)  # [N]
    for label in torch.unique(labels):
        members = (labels == label).nonzero().flatten()
        survives[members[nms(boxes[members], scores[members], iou_thresh)]] = True
    keep = survives.nonzero().flatten()  # [D], lower index first
    return keep[scores[keep].argsort(descending=True, stable=True)]
