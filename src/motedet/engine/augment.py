"""Test-time augmentation: look at several views of each image and merge what is found.

Views are made of the prepared network input, each image without its padding, so that a view is what
the detector would have seen had the picture been scaled or mirrored. Merging is class-aware
suppression over the detections of all views, as in the published multi-scale tests.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from motedet.data.transforms.flip import mirror_x, mirror_y
from motedet.data.transforms.resize import scaled_size
from motedet.geometry import scale_boxes
from motedet.models.postprocess import Candidates, Suppression
from motedet.recipes.schema import Flip, ViewsSpec
from motedet.structures import Detections, Size

DIVISOR: Final = 32  # to which the published recipes pad

Predict = Callable[[Tensor, Sequence[Size]], list[Detections]]
"""Detections in images [B, 3, H, W] of B sizes (height, width), in pixels of the images."""


def predict_views(
    predict: Predict,
    images: Tensor,
    image_sizes: Sequence[Size],
    *,
    views: ViewsSpec,
    own: Suppression,
) -> list[Detections]:
    """Detections of a batch, merged over its views.

    Args:
        predict: the detector.
        images: [B, 3, H, W] normalised and padded.
        image_sizes: (height, width) of each image without its padding.
        views: what to look at, and how to merge.
        own: the detector's own rule, for the numbers that `views` leaves open.

    Returns:
        One record per image, in pixels of `images`, best first.
    """
    found: list[list[Detections]] = []  # one list of B records per view
    for scale in views.scales:
        scaled, sizes = scale_images(images, image_sizes, scale)
        for flip in views.flips:
            seen = predict(flip_images(scaled, sizes, flip), sizes)
            found.append(
                [
                    restore(detections, flip, size, original)
                    for detections, size, original in zip(seen, sizes, image_sizes, strict=True)
                ]
            )
    rule = Suppression(
        nms_iou=own.nms_iou if views.nms_iou is None else views.nms_iou,
        max_per_image=views.max_per_image or own.max_per_image,
        min_box_size=own.min_box_size,
    )
    return merge(found, image_sizes, rule)


def scale_images(
    images: Tensor, image_sizes: Sequence[Size], scale: float
) -> tuple[Tensor, list[Size]]:
    """The images at another size: bilinear, with area averaging where they shrink.

    Args:
        images: [B, 3, H, W], padded.
        image_sizes: (height, width) of each image without its padding.
        scale: factor on both sides; 1 gives back the batch as it is.

    Returns:
        [B, 3, h, w] padded with 0 to multiples of 32, and (height, width) of each.
    """
    if scale == 1:
        return images, list(image_sizes)
    sizes = [scaled_size(size, scale) for size in image_sizes]
    height, width = (-(-max(sides) // DIVISOR) * DIVISOR for sides in zip(*sizes, strict=True))
    scaled = images.new_zeros(*images.shape[:2], height, width)  # [B, 3, h, w]
    for slot, image, (h, w), size in zip(scaled, images, image_sizes, sizes, strict=True):
        slot[:, : size[0], : size[1]] = F.interpolate(
            image[None, :, :h, :w], size, mode="bilinear", antialias=True
        )[0]
    return scaled, sizes


def flip_images(images: Tensor, image_sizes: Sequence[Size], flip: Flip) -> Tensor:
    """Mirror images without moving their padding.

    Args:
        images: [B, 3, H, W], padded at the bottom and the right.
        image_sizes: (height, width) of each image without its padding.
        flip: "none" gives back the batch as it is.

    Returns:
        [B, 3, H, W].
    """
    if flip == "none":
        return images
    flipped = images.clone()
    for slot, image, (h, w) in zip(flipped, images, image_sizes, strict=True):
        slot[:, :h, :w] = image[:, :h, :w].flip(-1 if flip == "horizontal" else -2)
    return flipped


def restore(found: Detections, flip: Flip, size: Size, original: Size) -> Detections:
    """Detections of a view in pixels of the batch that it was made of.

    Args:
        found: D detections in pixels of the view.
        flip: of the view.
        size: (height, width) of the image in the view, without its padding.
        original: (height, width) of it in the batch.
    """
    boxes = found.boxes
    if flip == "horizontal":
        boxes = mirror_x(boxes, size[1])
    elif flip == "vertical":
        boxes = mirror_y(boxes, size[0])
    if size != original:
        boxes = scale_boxes(boxes, (original[1] / size[1], original[0] / size[0]))
    return Detections(boxes, found.scores, found.labels)


def merge(
    views: Sequence[Sequence[Detections]], image_sizes: Sequence[Size], rule: Suppression
) -> list[Detections]:
    """One record per image from all its views; equal scores: the earlier view first.

    Args:
        views: per view, one record per image.
        image_sizes: (height, width) per image, to which boxes are clipped.
        rule: how to merge.
    """
    every = [(image, found) for view in views for image, found in enumerate(view)]
    candidates = Candidates(
        image=torch.cat([torch.full_like(d.labels, image) for image, d in every]),
        prior=torch.cat([torch.arange(len(d), device=d.labels.device) for _, d in every]),
        label=torch.cat([d.labels for _, d in every]),
        score=torch.cat([d.scores for _, d in every]),
    )
    boxes = torch.cat([d.boxes for _, d in every])  # [E, 4]
    return rule.detections(candidates, boxes, image_sizes)
