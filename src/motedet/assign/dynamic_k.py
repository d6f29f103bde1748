"""Dynamic-k matching (Ge et al. 2021, OTA and YOLOX, arXiv 2107.08430), on sparse pairs.

An object takes as many priors as the IoU of its best predictions add up to: those of lowest cost.
The published form fills a table of costs of all priors with all objects. Here a rule says which
pairs can be among the cheapest, and what all others cost at least.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from motedet.assign.packing import NOTHING, keep_lowest, pack, packed_index, packed_value
from motedet.assign.pairs import conclude
from motedet.assign.predicted import PredictedBatch
from motedet.structures import BACKGROUND, Assignment, Pairs


class Costs(Protocol):
    """What a rule knows of the costs of pairs.

    Attributes:
        floors: before each step of `further`, what a pair not seen so far costs at least. The pairs
            seen first are those that `near` gives and all whose predicted box meets the object.
    """

    @property
    def floors(self) -> tuple[float, ...]:
        """See the attributes."""
        ...

    def __call__(self, pairs: Pairs) -> Tensor:
        """[E] float32, the cost of each pair."""
        ...

    def near(self) -> Iterator[Pairs]:
        """Pairs of valid priors that may be cheap although the predicted box misses the object."""
        ...

    def further(self, rows: Tensor, step: int, topk: int) -> Iterator[Pairs]:
        """More pairs of the objects in rows [R]: what could be among their `topk` cheapest.

        After the last step none is missing.
        """
        ...

    def rivals(self, slots: Tensor, cost: Tensor) -> Iterator[Pairs]:
        """Pairs of the slots [S] that may cost less than `cost` [S], or the same.

        Those that `near` gives, and those whose predicted box meets the object, may be left out. Of
        objects with equal cost only the first is needed.
        """
        ...


def match_dynamic_k(batch: PredictedBatch, costs: Costs, valid: Tensor, *, topk: int) -> Assignment:
    """Give each object its k cheapest valid priors; its k is the sum of its `topk` largest IoU.

    A prior taken by several objects goes to the one, of all in its image, to which it costs least;
    of equal costs the first object, and the first prior, wins. No object gets a new one instead.

    Args:
        batch: P priors, G objects, predictions.
        costs: of pairs.
        valid: [B * P] bool, the priors that can be taken.
        topk: how many IoU are added up; at least one prior is taken.

    Returns:
        The assignment; its quality is the IoU of the pair, 0 where they do not overlap.
    """
    lowest, number = _cheapest(batch, costs, valid, topk)  # [G, topk], [G]
    taken = (torch.arange(topk, device=number.device) < number[:, None]) & (lowest != NOTHING)
    gt, rank = taken.nonzero().unbind(1)  # [N]
    key = lowest[gt, rank]
    slot = batch.slot(Pairs(packed_index(key), gt))  # [N]
    best = torch.full_like(valid, NOTHING, dtype=torch.int64)  # [B * P] cost and object, packed
    best.scatter_reduce_(0, slot, pack(packed_value(key), gt), "amin")
    contested = slot.bincount(minlength=batch.num_slots) > 1  # [B * P]
    _settle_(best, batch, costs, contested)
    gt_index = torch.full_like(best, BACKGROUND)
    quality = torch.zeros_like(batch.boxes[:, 0])
    slots = (best != NOTHING).nonzero()[:, 0]  # [T]
    pairs = Pairs(slots % batch.grid.num_priors, packed_index(best[slots]))
    gt_index[slots] = pairs.gt
    quality[slots] = batch.iou(pairs)
    return conclude(batch.grid, batch.targets, gt_index, quality)


def sum_of_others(values: Tensor) -> Tensor:
    """Of each column, the sum of the other columns of its row.

    Nothing is subtracted: beside a column of 100 nothing would be left of one of 1e-20.

    Args:
        values: [N, K].

    Returns:
        [N, K].
    """
    before = F.pad(values.cumsum(1), (1, 0))[:, :-1]
    after = F.pad(values.flip(1).cumsum(1), (1, 0))[:, :-1].flip(1)
    return before + after


def _cheapest(
    batch: PredictedBatch, costs: Costs, valid: Tensor, topk: int
) -> tuple[Tensor, Tensor]:
    """[G, topk] cost and prior of the cheapest pairs, packed and rising; [G] how many to take."""
    lowest = batch.targets.image_index.new_full((len(batch.gt_boxes), topk), NOTHING)
    largest = lowest  # minus the IoU, packed
    for pairs in batch.meeting(valid.nonzero()[:, 0]):
        lowest = keep_lowest(lowest, pack(costs(pairs), pairs.prior), pairs.gt)
        largest = keep_lowest(largest, pack(-batch.iou(pairs), pairs.prior), pairs.gt)
    for pairs in costs.near():
        lowest = keep_lowest(lowest, pack(costs(pairs), pairs.prior), pairs.gt)
    iou = -packed_value(largest).masked_fill(largest == NOTHING, 0)  # [G, topk]
    # In float64, because a whole number must not hang on the order in which a device adds.
    number = iou.double().sum(1).float().long().clamp(min=1)  # [G]
    last = number[:, None] - 1
    for step, floor in enumerate(costs.floors):
        dear = packed_value(lowest.gather(1, last)[:, 0]) >= floor  # [G]
        rows = dear.nonzero()[:, 0]
        if len(rows) == 0:
            break
        for pairs in costs.further(rows, step, topk):
            lowest = keep_lowest(lowest, pack(costs(pairs), pairs.prior), pairs.gt)
    return lowest, number


def _settle_(best: Tensor, batch: PredictedBatch, costs: Costs, contested: Tensor) -> None:
    """Enter in `best` [B * P] the cheapest of all objects for each prior that several took."""
    slots = contested.nonzero()[:, 0]  # [S]
    if len(slots) == 0:
        return
    for pairs in batch.meeting(slots):
        best.scatter_reduce_(0, batch.slot(pairs), pack(costs(pairs), pairs.gt), "amin")
    for pairs in costs.near():
        few = pairs[contested[batch.slot(pairs)]]
        best.scatter_reduce_(0, batch.slot(few), pack(costs(few), few.gt), "amin")
    for pairs in costs.rivals(slots, packed_value(best[slots])):
        best.scatter_reduce_(0, batch.slot(pairs), pack(costs(pairs), pairs.gt), "amin")
