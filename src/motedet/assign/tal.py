"""Task-aligned assignment (Feng et al. 2021, TOOD, arXiv 2108.07755)."""

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.assign.packing import NOTHING, keep_lowest, pack, packed_index
from motedet.assign.pairs import conclude
from motedet.assign.predicted import PredictedBatch
from motedet.geometry.bits import LOW_BITS, bits_float, float_bits
from motedet.priors import PriorGrid
from motedet.structures import BACKGROUND, Assignment, PackedTargets, Pairs, Predictions

MIN_INSIDE: Final = 0.01  # as published: pixels by which a centre must be inside of the object
EPS: Final = 1e-7  # as published: added to the largest alignment of an object


@dataclass(frozen=True, kw_only=True)
class TaskAligned:
    """An object takes the priors that classify and localise it best at once.

    The alignment of a prior with an object is score ** alpha * IoU ** beta (eq. 3). Of the `topk`
    best aligned priors of all levels together those are positive that have any alignment and whose
    centre is inside of the object. A prior wanted by several objects goes to the largest IoU.

    Ignore boxes play no part, as published. The quality is the normalised alignment (section 3.2):
    over the largest alignment of the object's priors, times the largest IoU among them.

    Attributes:
        topk: priors per object.
        alpha: exponent of the score.
        beta: exponent of the IoU.
    """

    kind: Literal["tal"] = "tal"
    topk: int = 13
    alpha: float = 1.0
    beta: float = 6.0

    def __post_init__(self) -> None:
        """Reject numbers that say nothing."""
        if self.topk < 1:
            raise ValueError(f"topk must be at least 1; got {self.topk}.")
        if self.alpha < 0 or self.beta <= 0:
            raise ValueError(
                "alpha must not be negative and beta must be positive; "
                f"got {self.alpha} and {self.beta}."
            )

    def __call__(
        self, grid: PriorGrid, targets: PackedTargets, predictions: Predictions
    ) -> Assignment:
        """Assign a batch.

        Args:
            grid: P priors, of which only the centres matter.
            targets: G objects of B images, packed; G may be 0.
            predictions: at every prior; the scores count, not the logits.

        Raises:
            ShapeError: if there is not one prediction for each prior of each image.
        """
        batch = PredictedBatch.of(grid, targets, predictions)
        scores = predictions.scores.flatten(0, 1)  # [B * P, K]
        pairs = self._best(batch, scores)
        slot, iou = batch.slot(pairs), batch.iou(pairs)  # [N]
        best = torch.zeros(batch.num_slots, dtype=torch.int64, device=iou.device)
        key = (float_bits(iou) << 32) | (LOW_BITS - pairs.gt)  # 0 is nothing
        best.scatter_reduce_(0, slot, key, "amax")
        slots = best.nonzero()[:, 0]  # [T]
        gt, overlap = LOW_BITS - (best[slots] & LOW_BITS), bits_float(best[slots] >> 32)
        score = scores[slots, targets.labels[gt]]
        gt_index, quality = torch.full_like(best, BACKGROUND), torch.zeros_like(batch.boxes[:, 0])
        gt_index[slots] = gt
        quality[slots] = normalised(self.alignment(score, overlap), overlap, gt, len(targets.boxes))
        return conclude(grid, targets, gt_index, quality)

    def alignment(self, scores: Tensor, iou: Tensor) -> Tensor:
        """Eq. 3 of TOOD.

        Args:
            scores: [E] of the object's class, in [0, 1].
            iou: [E] of predicted box and object.

        Returns:
            [E] float32 in [0, 1].
        """
        return scores.double().pow(self.alpha).float() * iou.double().pow(self.beta).float()

    def _best(self, batch: PredictedBatch, scores: Tensor) -> Pairs:
        """The pairs that are positive before conflicts: without overlap there is no alignment."""
        lowest = batch.targets.image_index.new_full((len(batch.gt_boxes), self.topk), NOTHING)
        for pairs in batch.meeting(batch.usable().nonzero()[:, 0]):
            score = scores[batch.slot(pairs), batch.targets.labels[pairs.gt]]  # [E]
            value = self.alignment(score, batch.iou(pairs))
            some = value > 0
            lowest = keep_lowest(lowest, pack(-value, pairs.prior)[some], pairs.gt[some])
        gt, rank = (lowest != NOTHING).nonzero().unbind(1)  # [N]
        prior = packed_index(lowest[gt, rank])
        center, box = batch.grid.centers(prior.device)[prior], batch.gt_boxes[gt]
        margin = torch.cat((center - box[:, :2], box[:, 2:] - center), dim=1).amin(1)
        inside = margin > MIN_INSIDE
        return Pairs(prior[inside], gt[inside])


def normalised(alignment: Tensor, iou: Tensor, gt: Tensor, num_gts: int) -> Tensor:
    """The soft target t of each positive prior (TOOD, section 3.2).

    Args:
        alignment: [T] of prior and object.
        iou: [T] of predicted box and object.
        gt: [T] int64, the object.
        num_gts: G.

    Returns:
        [T] in [0, 1].
    """
    most = alignment.new_zeros(2, num_gts)
    most[0].scatter_reduce_(0, gt, alignment, "amax")
    most[1].scatter_reduce_(0, gt, iou, "amax")
    return alignment / (most[0][gt] + EPS) * most[1][gt]
