"""Which object each proposal learns from: boxes that lie anywhere, not on a grid.

Boxes that overlap are found by sorting: a box of a known width that reaches an object starts less
than that width to the left of it. So boxes are sorted by image, by width up to a factor of two and
by their left side, and what an object may meet is one run of boxes for each such width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.assign.pairs import LOW_BITS, MAX_PAIRS, float_bits
from motedet.errors import check_boxes
from motedet.geometry import aligned_intersection, aligned_iou
from motedet.structures import BACKGROUND, PackedTargets, Pairs

WIDTHS: Final = 14  # classes of widths below 1, 2, 4, ... 4096 px; the last is for all wider ones


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
        for pairs in _meetings(boxes, box_image, gt_boxes, targets.image_index):
            iou = aligned_iou(gt_boxes[pairs.gt], boxes[pairs.prior])  # [E]
            key = ((float_bits(iou) << 32) | (LOW_BITS - pairs.gt)).where(iou >= self.pos_iou, 0)
            best.scatter_reduce_(0, pairs.prior, key, "amax")
        return (LOW_BITS - (best & LOW_BITS)).where(best > 0, BACKGROUND)


def overlapping_pairs(
    boxes: Tensor, box_image: Tensor, gt_boxes: Tensor, gt_image: Tensor
) -> Pairs:
    """Every box and object of the same image that share an area.

    Args:
        boxes: [R, 4] xyxy in pixels, of all images, in any order.
        box_image: [R] int64, the image of each box.
        gt_boxes: [G, 4] xyxy in pixels.
        gt_image: [G] int64, the image of each object.

    Returns:
        E pairs by rising object, whose `prior` are rows of the boxes.
    """
    parts = list(_meetings(boxes.float(), box_image, gt_boxes.float(), gt_image))
    return Pairs(torch.cat([p.prior for p in parts]), torch.cat([p.gt for p in parts]))


def _meetings(
    boxes: Tensor, box_image: Tensor, gt_boxes: Tensor, gt_image: Tensor
) -> Iterator[Pairs]:
    """The pairs that share an area, in parts of bounded length, at least one."""
    check_boxes(boxes, "boxes")
    check_boxes(gt_boxes, "gt_boxes")
    order, first, counts = _runs(boxes, box_image, gt_boxes, gt_image)
    ends = counts.cumsum(0)  # [G * WIDTHS]
    # How long the list gets is the one number that the host has to know.
    total = int(ends[-1]) if len(ends) else 0
    bounds: list[int] = []
    if total > MAX_PAIRS:
        bounds = (ends // MAX_PAIRS).bincount().cumsum(0)[:-1].tolist()
    for part in torch.arange(len(counts), device=counts.device).tensor_split(bounds):
        length = counts[part]  # [W] of the runs in this part
        run = torch.arange(len(part), device=part.device).repeat_interleave(length)  # [E]
        place = torch.arange(len(run), device=run.device) - (length.cumsum(0) - length)[run]
        pairs = Pairs(order[first[part][run] + place], part[run] // WIDTHS)
        yield pairs[aligned_intersection(gt_boxes[pairs.gt], boxes[pairs.prior]) > 0]


def _runs(
    boxes: Tensor, box_image: Tensor, gt_boxes: Tensor, gt_image: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the boxes are that may meet each object.

    Returns:
        [R] the boxes in sorted order; and for each object and class of widths, [G * WIDTHS] each,
        the first place in that order and the number of boxes.
    """
    width_class = torch.frexp(boxes[:, 2] - boxes[:, 0]).exponent.long().clamp(0, WIDTHS - 1)
    key, order = _sort_key(box_image * WIDTHS + width_class, boxes[:, 0]).sort()  # [R] each
    classes = torch.arange(WIDTHS, device=boxes.device)
    group = gt_image[:, None] * WIDTHS + classes  # [G, WIDTHS]
    widest = torch.exp2(classes.float()).masked_fill(classes == WIDTHS - 1, torch.inf)
    # one float lower: the difference is rounded, and more boxes do no harm
    low = (gt_boxes[:, :1] - widest).nextafter(gt_boxes.new_tensor(-torch.inf))  # [G, WIDTHS]
    first = torch.searchsorted(key, _sort_key(group, low))
    stop = torch.searchsorted(key, _sort_key(group, gt_boxes[:, 2:3].expand_as(low)))
    return order, first.flatten(), (stop - first).clamp(min=0).flatten()


def _sort_key(group: Tensor, at: Tensor) -> Tensor:
    """Int64 numbers that sort by group, then by the float32 number `at`, negative ones included."""
    at = at + 0.0  # -0 becomes 0
    bits = float_bits(at)
    rising = torch.where(at < 0, LOW_BITS - bits, bits + (1 << 31))  # in [0, 2**32)
    return (group << 32) | rising
