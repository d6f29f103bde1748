"""A sample at the size that Scale Match chose for it."""

from dataclasses import replace

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from motedet.data.sample import Sample
from motedet.geometry.boxes import clip_boxes
from motedet.structures import Size


def shrink_sample(sample: Sample, size: Size, *, min_side: float, antialias: bool) -> Sample:
    """The sample at another size, without what becomes too small.

    Args:
        sample: not padded.
        size: (height, width) in pixels.
        min_side: boxes with a shorter side after clipping to the image are left out, in pixels.
        antialias: average over the area where the image shrinks.
    """
    height, width = sample.image_size
    ratio = torch.tensor([size[1] / width, size[0] / height] * 2)  # [4]
    boxes = clip_boxes(sample.boxes * ratio, size)  # [G, 4]
    ignore_boxes = clip_boxes(sample.ignore_boxes * ratio, size)  # [I, 4]
    large = _large(boxes, min_side)  # [G]
    return replace(
        sample,
        image=resize_pixels(sample.image, size, antialias=antialias),
        boxes=boxes[large],
        labels=sample.labels[large],
        ignore_boxes=ignore_boxes[_large(ignore_boxes, min_side)],
        image_size=size,
        padded_size=size,
    )


def resize_pixels(image: Tensor, size: Size, *, antialias: bool) -> Tensor:
    """[3, h, w] of an image [3, H, W]: bilinear, without antialias as OpenCV does it."""
    # in the layout of read images: torch 2.15 fails where the other becomes one single pixel
    image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # [3, H, W]
    resized: Tensor = F.resize(image, list(size), antialias=antialias)
    return resized


def _large(boxes: Tensor, min_side: float) -> Tensor:
    """[N] bool of [N, 4] boxes: no side is under `min_side`."""
    return (boxes[:, 2:] - boxes[:, :2] >= min_side).all(dim=1)
