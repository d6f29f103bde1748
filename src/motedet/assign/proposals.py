"""Which object each proposal learns from: boxes that lie anywhere, not on a grid."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from motedet.geometry import aligned_iou
from motedet.geometry.bits import LOW_BITS, float_bits
from motedet.geometry.meetings import meetings
from motedet.structures import BACKGROUND, PackedTargets


@dataclass(frozen=True, kw_only=True)
class BestOverlap:
    """A box learns from the object that it overlaps most, if enough (Ren et al. 2015, 1506.01497).

    Of objects that a box overlaps equally the first wins. A box without area learns from nothing.

    Attributes:
        pos_iou: IoU from which a box is positive; below it is background.
    """

    kind: Literal["best_overlap"] = "best_overlap"
    pos_iou: float = 0.5

    def __post_init__(self) -> None:
        """Reject a threshold that says nothing."""
        if not 0 < self.pos_iou <= 1:
            raise ValueError(f"pos_iou must be in (0, 1]; got {self.pos_iou}.")

    def __call__(self, boxes: Tensor, box_image: Tensor, targets: PackedTargets) -> Tensor:
        """Match a batch.

        Args:
            boxes: [R, 4] xyxy in pixels, of all images, in any order.
            box_image: [R] int64, the image of each box.
            targets: G objects of B images, packed; G may be 0.

        Returns:
            [R] int64, a row of the packed targets or BACKGROUND.
        """
        boxes, gt_boxes = boxes.float(), targets.boxes.float()
        best = box_image.new_zeros(len(boxes))  # IoU and object, packed; 0 for nobody
        for pairs in meetings(
            boxes, box_image, gt_boxes, targets.image_index, num_images=targets.num_images
        ):
            iou = aligned_iou(gt_boxes[pairs.gt], boxes[pairs.prior])  # [E]
            key = ((float_bits(iou) << 32) | (LOW_BITS - pairs.gt)).where(iou >= self.pos_iou, 0)
            best.scatter_reduce_(0, pairs.prior, key, "amax")
        return (LOW_BITS - (best & LOW_BITS)).where(best > 0, BACKGROUND)
