"""Which boxes of a crowd meet which objects, when both lie anywhere: a join by sorting.

A box whose sides are below S and which reaches an object starts less than S to the left of it and
less than S above it. So boxes are sorted by image, by S up to a factor of two, by bands of the
height S in which they start, and in a band by their left side: what an object may meet is one run
of boxes for each S and each of the few bands near it.
"""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from motedet.errors import check_boxes
from motedet.geometry.bits import rising_bits
from motedet.geometry.iou import aligned_intersection
from motedet.structures import Pairs

MAX_PAIRS: Final = 1 << 20  # pairs listed at once, tens of MB
SMALLEST: Final = 3  # boxes below 2 ** 3 px are one class of sizes
LARGEST: Final = 13  # and so are those from 2 ** 12 px on, whose bands are endless
CLASSES: Final = LARGEST - SMALLEST + 1
BANDS: Final = 1 << 16  # enough for images of 262,144 px; beyond, the first and last band count


def meetings(
    boxes: Tensor, box_image: Tensor, gt_boxes: Tensor, gt_image: Tensor, *, num_images: int
) -> Iterator[Pairs]:
    """Every box and object of the same image that share an area.

    Args:
        boxes: [R, 4] xyxy in pixels, of all images, in any order.
        box_image: [R] int64, the image of each box.
        gt_boxes: [G, 4] xyxy in pixels.
        gt_image: [G] int64, the image of each object.
        num_images: B.

    Yields:
        Pairs by rising object, whose `prior` are rows of the boxes, in parts of bounded length; at
        least one part. No pair comes twice.

    Raises:
        ShapeError: if boxes are not [R, 4] and [G, 4].
    """
    check_boxes(boxes, "boxes")
    check_boxes(gt_boxes, "gt_boxes")
    group, heights = _sizes(boxes.float(), box_image)  # [R], [CLASSES]
    present = group.bincount(minlength=num_images * CLASSES).view(-1, CLASSES) > 0
    band = _band(boxes[:, 1].float(), heights[group % CLASSES])  # [R]
    key, order = _key(group, band, boxes[:, 0].float()).sort()
    first, counts, gt = _runs(key, heights, present[gt_image], gt_boxes.float(), gt_image)
    ends = counts.cumsum(0)  # [W]
    # How long the list gets is the one number that the host has to know.
    total = int(ends[-1]) if len(ends) else 0
    bounds: list[int] = []
    if total > MAX_PAIRS:
        bounds = (ends // MAX_PAIRS).bincount().cumsum(0)[:-1].tolist()
    for part in torch.arange(len(counts), device=counts.device).tensor_split(bounds):
        length = counts[part]  # [V] of the runs in this part
        run = torch.arange(len(part), device=part.device).repeat_interleave(length)  # [E]
        place = torch.arange(len(run), device=run.device) - (length.cumsum(0) - length)[run]
        pairs = Pairs(order[first[part][run] + place], gt[part][run])
        yield pairs[aligned_intersection(gt_boxes[pairs.gt], boxes[pairs.prior]) > 0]


def _sizes(boxes: Tensor, box_image: Tensor) -> tuple[Tensor, Tensor]:
    """[R] image and class of size of each box, as one number; [CLASSES] what sides are below."""
    side = (boxes[:, 2:] - boxes[:, :2]).amax(1).clamp(max=2.0**LARGEST)  # [R], none infinite
    size = torch.frexp(side).exponent.long().clamp(SMALLEST, LARGEST) - SMALLEST
    limits = torch.exp2(torch.arange(SMALLEST, LARGEST + 1, device=boxes.device).float())
    limits[-1] = torch.inf
    return box_image * CLASSES + size, limits


def _runs(
    key: Tensor, heights: Tensor, present: Tensor, gt_boxes: Tensor, gt_image: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the boxes are that may meet each object.

    Args:
        key: [R] of the boxes, sorted.
        heights: [CLASSES] of the bands.
        present: [G, CLASSES] bool, the sizes that occur in the object's image.
        gt_boxes: [G, 4].
        gt_image: [G].

    Returns:
        For each of W runs its first place, the number of boxes and the object, [W] each, by rising
        object.
    """
    # one float lower: the difference is rounded, and more boxes do no harm
    lowest = gt_boxes.new_tensor(-torch.inf)
    corner = (gt_boxes[:, None, :2] - heights[:, None]).nextafter(lowest)  # [G, CLASSES, 2]
    top = _band(corner[..., 1], heights)  # [G, CLASSES]
    bottom = _band(gt_boxes[:, 3:], heights)
    number = ((bottom - top + 1).clamp(min=0) * present).flatten()  # [G * CLASSES] bands
    place = torch.arange(len(number), device=key.device).repeat_interleave(number)  # [W]
    band = torch.arange(len(place), device=key.device) - (number.cumsum(0) - number)[place]
    band += top.flatten()[place]
    gt = place // CLASSES  # [W]
    group = gt_image[gt] * CLASSES + place % CLASSES
    first = torch.searchsorted(key, _key(group, band, corner[..., 0].flatten()[place]))
    stop = torch.searchsorted(key, _key(group, band, gt_boxes[gt, 2]))
    return first, (stop - first).clamp(min=0), gt


def _band(y: Tensor, height: Tensor) -> Tensor:
    """[...] int64 in [0, BANDS), the band in which a box starts that has its upper side at y."""
    band = (y / height).floor().clamp(-BANDS // 2, BANDS // 2 - 1)
    return band.nan_to_num(0).long().masked_fill(height == torch.inf, 0) + BANDS // 2


def _key(group: Tensor, band: Tensor, x: Tensor) -> Tensor:
    """[...] int64 that sorts by group, then by band, then by the float32 number x."""
    return ((group * BANDS + band) << 32) | rising_bits(x.nan_to_num(0, torch.inf, -torch.inf))
