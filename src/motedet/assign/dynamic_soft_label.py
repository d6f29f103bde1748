"""Dynamic soft label assignment (Lyu et al. 2022, RTMDet, arXiv 2212.07784)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from motedet.assign.dynamic_k import match_dynamic_k, sum_of_others
from motedet.assign.inside import cells_between, priors_within
from motedet.assign.predicted import PredictedBatch
from motedet.priors import PriorGrid
from motedet.structures import Assignment, PackedTargets, Pairs, Predictions

EPS: Final = 1e-7  # as published: added to the IoU before its logarithm
STEPS: Final = (2.0, 8.0, 39.0)  # strides beyond the radius; from 38.53 on the cost is infinite
SLACK: Final = 0.01  # of these strides: 2 % of a cost, against rounding


@dataclass(frozen=True, kw_only=True)
class DynamicSoftLabel:
    """An object takes its cheapest priors, by a cost whose class term knows the overlap.

    Cost (RTMDet, section 3.3): the quality focal loss of the class logits towards the IoU of the
    predicted box, summed over the classes; plus -ln IoU; plus 10 ** (distance / stride - radius)
    from the centre of the object to the point of the prior. Only priors whose point is inside of
    some object of the image can be taken; so an object without any point inside may get one of
    another. Number and conflicts are those of SimOTA.

    The last term is infinite 38.5 strides beyond the radius. Then the lowest prior, or object, is
    taken. Ignore boxes play no part, as published. The quality is the IoU of predicted box and
    object.

    Attributes:
        topk: how many of the largest IoU are added up to the number of priors.
        radius: of the soft centre, in strides.
        iou_weight: of -ln IoU.
    """

    kind: Literal["soft_label"] = "soft_label"
    topk: int = 13
    radius: float = 3.0
    iou_weight: float = 3.0

    def __post_init__(self) -> None:
        """Reject numbers that say nothing."""
        if self.topk < 1:
            raise ValueError(f"topk must be at least 1; got {self.topk}.")
        if self.radius < 0 or self.iou_weight < 0:
            raise ValueError(
                "radius and iou_weight must not be negative; "
                f"got {self.radius} and {self.iou_weight}."
            )

    def __call__(
        self, grid: PriorGrid, targets: PackedTargets, predictions: Predictions
    ) -> Assignment:
        """Assign a batch.

        Args:
            grid: P priors, of which only the points and the strides matter.
            targets: G objects of B images, packed; G may be 0.
            predictions: at every prior; the logits count, not the scores.

        Raises:
            ShapeError: if there is not one prediction for each prior of each image.
        """
        batch = PredictedBatch.of(grid, targets, predictions)
        lattices, boxes = grid.lattices(batch.boxes.device), batch.gt_boxes[:, None]  # [G, 1, 4]
        whole = torch.cat((torch.zeros_like(lattices.cells), lattices.cells), dim=-1)[None]
        inside = cells_between(lattices, whole, boxes[..., :2], boxes[..., 2:])  # [G, M, 4]
        valid = priors_within(grid, inside, targets.image_index, targets.num_images)
        valid &= batch.usable()
        logits = predictions.logits.flatten(0, 1)  # [B * P, K]
        others = torch.zeros_like(logits, dtype=torch.float64)
        others[valid] = sum_of_others(
            _quality_focal(logits[valid], torch.zeros_like(logits[valid]))
        )
        costs = _Costs(self, batch, valid, logits, others)
        return match_dynamic_k(batch, costs, valid, topk=self.topk)


@dataclass(frozen=True, slots=True)
class _Costs:
    """Costs of pairs.

    Without overlap the cost is at least that of the IoU 0, and rises with the distance in strides:
    such pairs are looked for in growing circles around the objects that still need one.

    Attributes:
        rule: weight and radius.
        batch: priors, objects, predictions.
        valid: [B * P] bool.
        logits: [B * P, K].
        others: [B * P, K] float64, class cost of all classes but one, at valid priors.
    """

    rule: DynamicSoftLabel
    batch: PredictedBatch
    valid: Tensor
    logits: Tensor
    others: Tensor

    @property
    def floors(self) -> tuple[float, ...]:
        """Costs of the IoU 0 outside of each circle; beyond the last all are infinite."""
        return (self._apart(), *(self._apart() + 10 ** (s - SLACK) for s in STEPS[:-1]), math.inf)

    def _apart(self) -> float:
        """Less than the cost of the IoU 0, by more than float32 rounds."""
        return -math.log(EPS) * self.rule.iou_weight * (1 - 1e-4)

    def __call__(self, pairs: Pairs) -> Tensor:
        """[E] float32, the cost of each pair, summed in the published order."""
        batch = self.batch
        slot, box = batch.slot(pairs), batch.gt_boxes[pairs.gt]  # [E], [E, 4]
        point = batch.grid.points(box.device)[pairs.prior]  # [E, 2]
        stride = batch.grid.strides(box.device)[pairs.prior]  # [E]
        distance = (point - (box[:, :2] + box[:, 2:]) / 2).square().sum(-1).sqrt() / stride
        iou = batch.iou(pairs)
        label = batch.targets.labels[pairs.gt]
        entropy = self.others[slot, label] + _quality_focal(self.logits[slot, label], iou)
        apart = -(iou + EPS).double().log().float() * self.rule.iou_weight
        far = torch.pow(10.0, (distance - self.rule.radius).double()).float()
        return entropy.float() + apart + far

    def near(self) -> Iterator[Pairs]:
        """None: without overlap no pair is cheap."""
        yield from ()

    def further(self, rows: Tensor, step: int, topk: int) -> Iterator[Pairs]:
        """Pairs of objects [R] with the valid priors in a circle; at last with the first of all."""
        if step < len(STEPS):
            slots = self.valid.nonzero()[:, 0]  # [V]
            reach = torch.full_like(slots, self.rule.radius + STEPS[step], dtype=torch.float32)
            yield from self._around(slots, reach, rows)
        else:
            yield self._first_priors(rows, topk)

    def rivals(self, slots: Tensor, cost: Tensor) -> Iterator[Pairs]:
        """Pairs of slots [S] with the objects so close that the distance alone costs no more.

        Where the cost is infinite the first object of the image wins, unless one costs less.
        """
        poor = cost >= self._apart()
        slots, cost = slots[poor], cost[poor]
        exponent = (cost - self._apart()).clamp(min=1e-6).log10() + SLACK  # [S]
        reach = self.rule.radius + exponent.clamp(max=STEPS[-1])
        rows = torch.arange(len(self.batch.gt_boxes), device=slots.device)
        yield from self._around(slots, reach.clamp(min=0), rows)
        last = slots[cost == torch.inf]
        image = last // self.batch.grid.num_priors
        first = torch.searchsorted(self.batch.targets.image_index, image)
        yield Pairs(last % self.batch.grid.num_priors, first)

    def _around(self, slots: Tensor, reach: Tensor, rows: Tensor) -> Iterator[Pairs]:
        """Pairs of slots [S] with objects [R] whose centre is within `reach` [S] strides."""
        grid, prior = self.batch.grid, slots % self.batch.grid.num_priors
        point = grid.points_at(prior)  # [S, 2]
        half = (reach * grid.strides(prior.device)[prior])[:, None]  # [S, 1]
        box = self.batch.gt_boxes[rows]  # [R, 4]
        center = (box[:, :2] + box[:, 2:]) / 2
        # a pixel around the centre, because nothing meets a box without area
        spot = torch.cat((center - 0.5, center + 0.5), dim=1)
        yield from self.batch.touching(
            torch.cat((point - half, point + half), dim=1), slots, spot, rows
        )

    def _first_priors(self, rows: Tensor, topk: int) -> Pairs:
        """Pairs of objects [R] with the first valid priors of their image.

        Whoever is infinitely dear and not among them has as many before it that are no dearer.
        """
        shape = (self.batch.targets.num_images, self.batch.grid.num_priors)
        valid = self.valid.view(shape)  # [B, P]
        rank = valid.cumsum(1)
        image, prior = (valid & (rank <= topk)).nonzero().unbind(1)  # [N]
        table = prior.new_full((len(valid), topk), -1)
        table[image, rank[image, prior] - 1] = prior
        found = table[self.batch.targets.image_index[rows]]  # [R, k]
        known = found >= 0
        return Pairs(found[known], rows[:, None].expand_as(found)[known])


def _quality_focal(logits: Tensor, quality: Tensor) -> Tensor:
    """[...] float64, quality focal loss of logits [...] towards float32 qualities [...]."""
    x, target = logits.double(), quality.double()
    entropy = F.binary_cross_entropy_with_logits(x, target, reduction="none")
    return entropy * (target - x.sigmoid()).square()
