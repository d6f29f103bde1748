"""Non-maximum suppression as one operator, which the exporter turns into ONNX's own."""

from typing import Final

import torch
from torch import Tensor

from motedet.geometry.nms import nms
from motedet.models.postprocess import Suppression

OUT: Final = -1.0  # the score of what is no candidate; real ones are 0 or more
FLOOR: Final = -0.5  # between the two


@torch.library.custom_op("motedet::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, nms_iou: float, max_per_image: int) -> Tensor:
    """Greedy suppression in every image of a batch, regardless of class.

    Args:
        boxes: [B, N, 4] xyxy in pixels.
        scores: [B, N], `OUT` where there is no candidate.
        nms_iou: a box is dropped above this IoU with a better one.
        max_per_image: at most so many are kept in an image.

    Returns:
        [S, 3] int64 image, 0, and place of what is kept: image by image, best first.
    """
    parts = []
    for image, (mine, found) in enumerate(zip(boxes, scores, strict=True)):
        index = (found > FLOOR).nonzero().flatten()
        kept = index[nms(mine[index], found[index], nms_iou)[:max_per_image]]  # [D]
        parts.append(torch.stack((torch.full_like(kept, image), 0 * kept, kept), dim=1))
    return torch.cat(parts)


@suppress.register_fake
def _(boxes: Tensor, scores: Tensor, nms_iou: float, max_per_image: int) -> Tensor:
    """The shape alone: how many are kept is not known before."""
    kept = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty((kept, 3), dtype=torch.int64)


def surviving(
    boxes: Tensor, scores: Tensor, labels: Tensor, limits: Tensor, rule: Suppression
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The detections of a batch, as `Suppression.detections` gives them, in one list.

    Args:
        boxes: [B, N, 4] xyxy in pixels.
        scores: [B, N], `OUT` where there is no candidate.
        labels: [B, N] int64.
        limits: [B, 4] float, (width, height, width, height) to which boxes are clipped.
        rule: without soft-NMS.

    Returns:
        [D] int64 image, [D, 4] boxes, [D] scores and [D] int64 labels: image by image, best first.
    """
    boxes = clipped(boxes, limits, keep=rule.keep)  # [B, N, 4]
    large = ((boxes[..., 2:] - boxes[..., :2]) > rule.min_box_size).all(dim=-1)  # [B, N]
    there = large & (scores > FLOOR)  # [B, N]
    scores = scores.where(there, OUT)
    # Classes are moved apart as in `class_aware_nms`, so that one run serves them all.
    furthest = boxes.where(there[..., None], 0.0).amax(dim=(1, 2))  # [B]
    moved = boxes + (labels.to(boxes) * (furthest + 1)[:, None])[..., None]  # [B, N, 4]
    kept = suppress(moved, scores, rule.nms_iou, rule.max_per_image)  # [D, 3]
    image, row = kept[:, 0], kept[:, 2]  # [D] each
    return image, boxes[image, row], scores[image, row], labels[image, row]


def clipped(boxes: Tensor, limits: Tensor, *, keep: float) -> Tensor:
    """Boxes [B, N, 4] cut off where their own image ends, as `clip_to_images` does it.

    Args:
        boxes: xyxy in pixels.
        limits: [B, 4] float, (width, height, width, height).
        keep: pixels per axis of every box that stay in the image, even if it lies outside.
    """
    ends = torch.tensor((keep, keep, 0.0, 0.0))  # [4]
    return boxes.maximum(ends.flip(0)).minimum((limits - ends)[:, None])
