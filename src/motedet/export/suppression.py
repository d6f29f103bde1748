"""Suppression as operators, which the exporter turns into ONNX's own, or into loops."""

from typing import Any, Final, cast

import torch
from torch import Tensor

from motedet.geometry.nms import SoftNMS, nms, similarity_nms, soft_nms
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
        [S, 2] int64 image and place of what is kept: image by image, best first.
    """
    parts = []
    for image, (mine, found) in enumerate(zip(boxes, scores, strict=True)):
        index = _candidates(found)
        kept = nms(mine[index], found[index], nms_iou)[:max_per_image]  # [D]
        parts.append(_rows(image, index[kept]))
    return torch.cat(parts)


@torch.library.custom_op("motedet::suppress_similar", mutates_args=())
def suppress_similar(
    boxes: Tensor, scores: Tensor, nms_nwd: float, nwd_constant: float, max_per_image: int
) -> Tensor:
    """As `suppress`, but above a NWD.

    Args:
        boxes: [B, N, 4] xyxy in pixels.
        scores: [B, N], `OUT` where there is no candidate.
        nms_nwd: a box is dropped above this NWD with a better one.
        nwd_constant: C of NWD in pixels.
        max_per_image: at most so many are kept in an image.

    Returns:
        [S, 2] int64 image and place of what is kept: image by image, best first.
    """
    parts = []
    for image, (mine, found) in enumerate(zip(boxes, scores, strict=True)):
        index = _candidates(found)
        kept = similarity_nms(mine[index], found[index], nms_nwd, nwd_constant=nwd_constant)
        parts.append(_rows(image, index[kept[:max_per_image]]))
    return torch.cat(parts)


@torch.library.custom_op("motedet::soften", mutates_args=())
def soften(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    nms_iou: float,
    max_per_image: int,
    method: str,
    sigma: float,
    min_score: float,
) -> tuple[Tensor, Tensor]:
    """Soft-NMS in every image of a batch, among boxes of the same class.

    Args:
        boxes: [B, N, 4] xyxy in pixels.
        scores: [B, N], `OUT` where there is no candidate.
        labels: [B, N] int64.
        nms_iou: "linear" leaves alone what overlaps at most this much.
        max_per_image: at most so many are kept in an image.
        method: "linear" or "gaussian", as in `SoftNMS`.
        sigma: of "gaussian".
        min_score: a box is dropped when its score falls below it.

    Returns:
        [S, 2] int64 image and place of what is kept, image by image, best first, and [S] its
        lowered scores.
    """
    rule = SoftNMS(method=cast("Any", method), sigma=sigma, min_score=min_score)
    rows, lowered = [], []
    for image, (mine, found, classes) in enumerate(zip(boxes, scores, labels, strict=True)):
        index = _candidates(found)
        kept, values = soft_nms(
            mine[index],
            found[index],
            classes[index],
            rule=rule,
            iou_thresh=nms_iou,
            max_num=max_per_image,
        )
        rows.append(_rows(image, index[kept]))
        lowered.append(values)
    return torch.cat(rows), torch.cat(lowered)


@suppress.register_fake
def _(boxes: Tensor, scores: Tensor, nms_iou: float, max_per_image: int) -> Tensor:
    """The shape alone: how many are kept is not known before."""
    return boxes.new_empty((torch.library.get_ctx().new_dynamic_size(), 2), dtype=torch.int64)


@suppress_similar.register_fake
def _(
    boxes: Tensor, scores: Tensor, nms_nwd: float, nwd_constant: float, max_per_image: int
) -> Tensor:
    """The shape alone."""
    return boxes.new_empty((torch.library.get_ctx().new_dynamic_size(), 2), dtype=torch.int64)


@soften.register_fake
def _(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    nms_iou: float,
    max_per_image: int,
    method: str,
    sigma: float,
    min_score: float,
) -> tuple[Tensor, Tensor]:
    """The shapes alone."""
    kept = torch.library.get_ctx().new_dynamic_size()
    return labels.new_empty((kept, 2)), scores.new_empty((kept,))


def _candidates(scores: Tensor) -> Tensor:
    """[D] int64, where scores [N] are those of candidates."""
    return (scores > FLOOR).nonzero().flatten()


def _rows(image: int, places: Tensor) -> Tensor:
    """[D, 2] the image and places [D]."""
    return torch.stack((torch.full_like(places, image), places), dim=1)


def surviving(
    boxes: Tensor, scores: Tensor, labels: Tensor, limits: Tensor, rule: Suppression
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The detections of a batch, as `Suppression.detections` gives them, in one list.

    Args:
        boxes: [B, N, 4] xyxy in pixels.
        scores: [B, N], `OUT` where there is no candidate.
        labels: [B, N] int64.
        limits: [B, 4] float, (width, height, width, height) to which boxes are clipped.
        rule: what is dropped, or lowered.

    Returns:
        [D] int64 image, [D, 4] boxes, [D] scores and [D] int64 labels: image by image, best first.
    """
    boxes = clipped(boxes, limits, keep=rule.keep)  # [B, N, 4]
    large = ((boxes[..., 2:] - boxes[..., :2]) > rule.min_box_size).all(dim=-1)  # [B, N]
    there = large & (scores > FLOOR)  # [B, N]
    scores = scores.where(there, OUT)
    if rule.soft is not None:
        kept, lowered = soften(
            boxes,
            scores,
            labels,
            rule.nms_iou,
            rule.max_per_image,
            rule.soft.method,
            rule.soft.sigma,
            rule.soft.min_score,
        )
        image, row = kept.unbind(1)  # [D] each
        return image, boxes[image, row], lowered, labels[image, row]
    # Classes are moved apart as in `class_aware_nms`, so that one run serves them all.
    furthest = boxes.where(there[..., None], 0.0).amax(dim=(1, 2))  # [B]
    moved = boxes + (labels.to(boxes) * (furthest + 1)[:, None])[..., None]  # [B, N, 4]
    image, row = suppress(moved, scores, rule.nms_iou, rule.max_per_image).unbind(1)  # [D] each
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
