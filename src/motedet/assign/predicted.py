"""What assigners that look at predictions share: priors, predicted boxes and objects of a batch.

The exponentials and logarithms of such assigners are taken in float64 and rounded to float32. That
is what the published float32 code means, and unlike float32 functions it gives the same bits on
every device and wherever a pair stands in a list: equal pairs then tie, as they must.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from motedet.assign.pairs import usable_priors
from motedet.errors import ShapeError
from motedet.geometry import aligned_iou
from motedet.geometry.meetings import meetings
from motedet.priors import PriorGrid
from motedet.structures import PackedTargets, Pairs, Predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedBatch:
    """Priors, what was predicted at them, and the objects of a batch.

    A slot is a prior of one image of the batch: image * P + prior.

    Attributes:
        grid: P priors.
        targets: G objects of B images.
        boxes: [B * P, 4] float32, predicted boxes.
        gt_boxes: [G, 4] float32.
    """

    grid: PriorGrid
    targets: PackedTargets
    boxes: Tensor
    gt_boxes: Tensor

    @classmethod
    def of(cls, grid: PriorGrid, targets: PackedTargets, predictions: Predictions) -> Self:
        """The record of a batch.

        Raises:
            ShapeError: if there is not one prediction for each prior of each image.
        """
        want = (targets.num_images, grid.num_priors)
        if predictions.boxes.shape[:2] != want:
            raise ShapeError(
                f"Predictions must be for {want[0]} images and {want[1]} priors; "
                f"got boxes {list(predictions.boxes.shape)}."
            )
        boxes = predictions.boxes.flatten(0, 1).float()
        return cls(grid=grid, targets=targets, boxes=boxes, gt_boxes=targets.boxes.float())

    @property
    def num_slots(self) -> int:
        """B * P."""
        return len(self.boxes)

    def slot(self, pairs: Pairs) -> Tensor:
        """[E] the slots of pairs."""
        return self.targets.image_index[pairs.gt] * self.grid.num_priors + pairs.prior

    def iou(self, pairs: Pairs) -> Tensor:
        """[E] IoU of predicted box and object."""
        return aligned_iou(self.boxes[self.slot(pairs)], self.gt_boxes[pairs.gt])

    def usable(self) -> Tensor:
        """[B * P] bool, the priors that take part."""
        usable = usable_priors(self.grid, self.targets)
        if usable is None:
            return torch.ones(self.num_slots, dtype=torch.bool, device=self.boxes.device)
        return usable.flatten()

    def meeting(self, slots: Tensor) -> Iterator[Pairs]:
        """Every pair of an object with a predicted box of the slots [R] that share an area."""
        rows = torch.arange(len(self.gt_boxes), device=slots.device)
        yield from self.touching(self.boxes[slots], slots, self.gt_boxes, rows)

    def touching(
        self, boxes: Tensor, slots: Tensor, gt_boxes: Tensor, rows: Tensor
    ) -> Iterator[Pairs]:
        """The same with boxes [R, 4] of slots [R] and boxes [S, 4] of the objects in rows [S]."""
        image, prior = slots // self.grid.num_priors, slots % self.grid.num_priors  # [R]
        gt_image = self.targets.image_index[rows]  # [S]
        num_images = self.targets.num_images
        for pairs in meetings(boxes, image, gt_boxes, gt_image, num_images=num_images):
            yield Pairs(prior[pairs.prior], rows[pairs.gt])
