"""SimOTA: the cheapest predictions learn from an object (Ge et al. 2021, YOLOX, 2107.08430)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.assign.dynamic_k import match_dynamic_k, sum_of_others
from motedet.assign.inside import cells_between, priors_within
from motedet.assign.packing import MAX_INDEX, NOTHING, pack, packed_index
from motedet.assign.pairs import MAX_PAIRS, pairs_between, usable_cells
from motedet.assign.predicted import PredictedBatch
from motedet.geometry import encode_ltrb
from motedet.priors import PriorGrid
from motedet.structures import Assignment, PackedTargets, Pairs, Predictions

EPS: Final = 1e-7  # as published: added to the IoU before its logarithm
PENALTY: Final = 1e5  # as published: 1e8 would swallow the other terms in float32
MAX_LOG: Final = -100.0  # PyTorch's limit for logarithms in the binary cross-entropy


@dataclass(frozen=True, kw_only=True)
class SimOTA:
    """An object takes its cheapest priors, as many as its best predictions overlap it in sum.

    Cost (eq. 1 of OTA, in the form of YOLOX): binary cross-entropy of the class scores, summed over
    the classes, plus -ln IoU, plus 1e5 unless the point of the prior is inside of the object and
    inside of a square around its centre. Priors that are in neither for any object of the image
    cannot be taken; so an object without any point inside still gets one.

    Ignore boxes play no part, as published. The quality is the IoU of predicted box and object.

    Attributes:
        topk: how many of the largest IoU are added up to the number of priors.
        radius: half the side of the square, in strides.
        iou_weight: of -ln IoU.
        cls_weight: of the cross-entropy.
    """

    kind: Literal["simota"] = "simota"
    topk: int = 10
    radius: float = 2.5
    iou_weight: float = 3.0
    cls_weight: float = 1.0

    def __post_init__(self) -> None:
        """Reject numbers that say nothing."""
        if self.topk < 1:
            raise ValueError(f"topk must be at least 1; got {self.topk}.")
        if self.radius <= 0:
            raise ValueError(f"radius must be positive; got {self.radius}.")
        if self.iou_weight < 0 or self.cls_weight < 0:
            raise ValueError(
                "iou_weight and cls_weight must not be negative; "
                f"got {self.iou_weight} and {self.cls_weight}."
            )

    def __call__(
        self, grid: PriorGrid, targets: PackedTargets, predictions: Predictions
    ) -> Assignment:
        """Assign a batch.

        Args:
            grid: P priors, of which only the points and the strides matter.
            targets: G objects of B images, packed; G may be 0.
            predictions: at every prior; the scores count, not the logits.

        Raises:
            ShapeError: if there is not one prediction for each prior of each image.
        """
        batch = PredictedBatch.of(grid, targets, predictions)
        lattices, boxes = grid.lattices(batch.boxes.device), batch.gt_boxes[:, None]  # [G, 1, 4]
        center = (boxes[..., :2] + boxes[..., 2:]) / 2  # [G, 1, 2]
        radius = self.radius * lattices.stride[:, None]  # [M, 1]
        whole = torch.cat((torch.zeros_like(lattices.cells), lattices.cells), dim=-1)[None]
        inside = cells_between(lattices, whole, boxes[..., :2], boxes[..., 2:])  # [G, M, 4]
        square = cells_between(lattices, whole, center - radius, center + radius)
        valid = priors_within(
            grid,
            torch.cat((inside, square)),
            targets.image_index.repeat(2),
            targets.num_images,
        )
        valid &= batch.usable()
        cells = usable_cells(grid, targets, targets.image_index)  # [G or 1, M, 4]
        start = inside[..., :2].maximum(square[..., :2]).maximum(cells[..., :2])
        stop = inside[..., 2:].minimum(square[..., 2:]).minimum(cells[..., 2:])
        scores = predictions.scores.flatten(0, 1)  # [B * P, K]
        others = torch.zeros_like(scores, dtype=torch.float64)
        others[valid] = sum_of_others(_miss(scores[valid]))
        costs = _Costs(self, batch, valid, scores, others, torch.cat((start, stop), dim=-1))
        return match_dynamic_k(batch, costs, valid, topk=self.topk)


@dataclass(frozen=True, slots=True)
class _Costs:
    """Costs of pairs.

    A pair with a penalty and without overlap costs what its prior and its class alone say: the
    generic cost. No pair costs more than its generic cost, because each term, and each sum even
    when rounded, falls or stays with overlap and without the penalty. So if such a pair is among
    the k cheapest of its object, its prior is among the k of lowest generic cost for the class:
    otherwise those k would all be as cheap, or cheaper, and before it.

    Attributes:
        rule: weights and radius.
        batch: priors, objects, predictions.
        valid: [B * P] bool.
        scores: [B * P, K].
        others: [B * P, K] float64, cross-entropy of all classes but one, at valid priors.
        both: [G, M, 4] cells inside of the object and of the square.
    """

    rule: SimOTA
    batch: PredictedBatch
    valid: Tensor
    scores: Tensor
    others: Tensor
    both: Tensor

    @property
    def floors(self) -> tuple[float, ...]:
        """All pairs that are not near are penalised."""
        return (PENALTY,)

    def __call__(self, pairs: Pairs) -> Tensor:
        """[E] float32, the cost of each pair."""
        batch = self.batch
        box = batch.gt_boxes[pairs.gt]  # [E, 4]
        point = batch.grid.points(box.device)[pairs.prior]  # [E, 2]
        radius = self.rule.radius * batch.grid.strides(box.device)[pairs.prior, None]  # [E, 1]
        center = (box[:, :2] + box[:, 2:]) / 2
        square = torch.cat((center - radius, center + radius), dim=1)  # [E, 4]
        near = (encode_ltrb(point, box).amin(1) > 0) & (encode_ltrb(point, square).amin(1) > 0)
        label = batch.targets.labels[pairs.gt]
        return self._cost(batch.slot(pairs), label, batch.iou(pairs), near)

    def _cost(self, slot: Tensor, label: Tensor, iou: Tensor, near: Tensor) -> Tensor:
        """Cost [...] of slots with objects of a class, summed in the published order."""
        score = self.scores[slot, label]  # [...]
        entropy = self.others[slot, label] + _hit(score)
        apart = -(iou + EPS).double().log().float()
        cost = entropy.float() * self.rule.cls_weight + apart * self.rule.iou_weight
        return cost + ~near * PENALTY

    def near(self) -> Iterator[Pairs]:
        """Pairs without a penalty."""
        far = self.batch.gt_boxes.new_full((*self.both.shape[:2], 2), torch.inf)
        return pairs_between(self.batch.grid, self.both, -far, far)

    def further(self, rows: Tensor, step: int, topk: int) -> Iterator[Pairs]:
        """Pairs of objects [R] with the priors of lowest generic cost for their class."""
        targets, num_classes = self.batch.targets, self.scores.shape[1]
        group = targets.image_index[rows] * num_classes + targets.labels[rows]  # [R]
        groups, place = torch.unique(group, return_inverse=True)  # [U], [R]
        at_once = max(1, MAX_PAIRS // max(1, self.batch.grid.num_priors))
        found = [self._generic(part, topk) for part in groups.split(at_once)]
        prior = torch.cat(found)[place]  # [R, k]
        known = prior >= 0
        yield Pairs(prior[known], rows[:, None].expand_as(prior)[known])

    def _generic(self, group: Tensor, topk: int) -> Tensor:
        """[U, k] the valid priors cheapest for images and classes [U], generically; -1: no more."""
        num_priors, num_classes = self.batch.grid.num_priors, self.scores.shape[1]
        prior = torch.arange(num_priors, device=group.device)  # [P]
        slot = (group // num_classes)[:, None] * num_priors + prior  # [U, P]
        nothing = torch.zeros_like(slot, dtype=torch.float32)
        label = (group % num_classes)[:, None].expand_as(slot)
        cost = self._cost(slot, label, nothing, nothing > 0)
        key = pack(cost, prior.expand_as(slot)).where(self.valid[slot], NOTHING)
        key = key.topk(min(topk, num_priors), dim=1, largest=False).values
        return packed_index(key).masked_fill(key == NOTHING, -1)

    def rivals(self, slots: Tensor, cost: Tensor) -> Iterator[Pairs]:
        """Pairs of slots [S] with the first object of each class of their image.

        If another object of that class had the lowest cost of all, it would be the generic one, and
        the first object would cost no more.
        """
        targets, num_classes = self.batch.targets, self.scores.shape[1]
        row = torch.arange(len(targets.labels), device=slots.device)
        first = row.new_full((targets.num_images * num_classes,), MAX_INDEX)
        first.scatter_reduce_(0, targets.image_index * num_classes + targets.labels, row, "amin")
        image = slots // self.batch.grid.num_priors  # [S]
        gt = first.view(-1, num_classes)[image]  # [S, K]
        prior = (slots % self.batch.grid.num_priors)[:, None].expand_as(gt)
        known = gt < MAX_INDEX
        yield Pairs(prior[known], gt[known])


def _hit(scores: Tensor) -> Tensor:
    """[...] float64, cross-entropy of scores where the class is the object's."""
    return -scores.double().log().clamp(min=MAX_LOG)


def _miss(scores: Tensor) -> Tensor:
    """[...] float64, cross-entropy of scores where the class is another."""
    return -torch.log1p(-scores.double()).clamp(min=MAX_LOG)
