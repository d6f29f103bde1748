"""Forms of a box, and what can be read off a single one.

A box is (x1, y1, x2, y2) in pixels; its width is x2 - x1, never + 1. Every function takes boxes of
any leading shape, [..., 4], so that the same lines serve lists, pairs and tables.
"""

import torch
from torch import Tensor

from motedet.errors import ShapeError
from motedet.structures import Size


def corners(boxes: Tensor, name: str = "boxes") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four columns of boxes, or of any other quadruple, as tensors of their own.

    Args:
        boxes: [..., 4] floating point.
        name: what the message calls it.

    Returns:
        x1, y1, x2, y2, each [...].

    Raises:
        ShapeError: unless `boxes` is a floating-point tensor whose last dimension is 4.
    """
    if boxes.ndim < 1 or boxes.shape[-1] != 4 or not boxes.is_floating_point():
        raise ShapeError(
            f"{name} must be a float tensor [..., 4]; got {boxes.dtype} {list(boxes.shape)}."
        )
    x1, y1, x2, y2 = boxes.unbind(-1)
    return x1, y1, x2, y2


def box_area(boxes: Tensor) -> Tensor:
    """Area of each box, negative where exactly one side is inverted: nothing is clamped.

    Args:
        boxes: [..., 4] xyxy in pixels.

    Returns:
        [...] in square pixels.
    """
    x1, y1, x2, y2 = corners(boxes)
    return (x2 - x1) * (y2 - y1)


def box_centers(boxes: Tensor) -> Tensor:
    """Centre of each box.

    Args:
        boxes: [..., 4] xyxy in pixels.

    Returns:
        [..., 2] (x, y) in pixels.
    """
    x1, y1, x2, y2 = corners(boxes)
    return torch.stack(((x1 + x2) * 0.5, (y1 + y2) * 0.5), dim=-1)


def clip_boxes(boxes: Tensor, size: Size) -> Tensor:
    """Boxes cut at the border of an image.

    Args:
        boxes: [..., 4] xyxy in pixels.
        size: (height, width) of the image in pixels.

    Returns:
        [..., 4], x in [0, width] and y in [0, height]; a box outside becomes one of no area.
    """
    x1, y1, x2, y2 = corners(boxes)
    height, width = size
    return torch.stack(
        (x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)), dim=-1
    )


def scale_boxes(boxes: Tensor, scale: tuple[float, float]) -> Tensor:
    """Boxes in the pixels of a resized image.

    Args:
        boxes: [..., 4] xyxy in pixels.
        scale: factors of x and of y.

    Returns:
        [..., 4] xyxy.
    """
    x1, y1, x2, y2 = corners(boxes)
    x_scale, y_scale = scale
    return torch.stack((x1 * x_scale, y1 * y_scale, x2 * x_scale, y2 * y_scale), dim=-1)


def resize_boxes(boxes: Tensor, ratio: float) -> Tensor:
    """Boxes with the same centres and other sides.

    Args:
        boxes: [..., 4] xyxy in pixels.
        ratio: new sides over old ones.

    Returns:
        [..., 4] xyxy.
    """
    center, sides = (boxes[..., 2:] + boxes[..., :2]) / 2, boxes[..., 2:] - boxes[..., :2]
    half = sides * ratio / 2  # [..., 2]
    return torch.cat((center - half, center + half), dim=-1)


def boxes_from_cxcywh(boxes_cxcywh: Tensor) -> Tensor:
    """Corners of boxes given as centre and size.

    Args:
        boxes_cxcywh: [..., 4] (centre x, centre y, width, height).

    Returns:
        [..., 4] xyxy.
    """
    cx, cy, width, height = corners(boxes_cxcywh, "boxes_cxcywh")
    half_width, half_height = width * 0.5, height * 0.5
    return torch.stack(
        (cx - half_width, cy - half_height, cx + half_width, cy + half_height), dim=-1
    )


def boxes_to_cxcywh(boxes: Tensor) -> Tensor:
    """Centre and size of boxes.

    Args:
        boxes: [..., 4] xyxy.

    Returns:
        [..., 4] (centre x, centre y, width, height).
    """
    x1, y1, x2, y2 = corners(boxes)
    return torch.stack(((x1 + x2) * 0.5, (y1 + y2) * 0.5, x2 - x1, y2 - y1), dim=-1)


def boxes_from_xywh(boxes_xywh: Tensor) -> Tensor:
    """Corners of boxes given as top left corner and size, the form of COCO files.

    Args:
        boxes_xywh: [..., 4] (x1, y1, width, height).

    Returns:
        [..., 4] xyxy.
    """
    x1, y1, width, height = corners(boxes_xywh, "boxes_xywh")
    return torch.stack((x1, y1, x1 + width, y1 + height), dim=-1)


def boxes_to_xywh(boxes: Tensor) -> Tensor:
    """Top left corner and size of boxes, the form of COCO files.

    Args:
        boxes: [..., 4] xyxy.

    Returns:
        [..., 4] (x1, y1, width, height).
    """
    x1, y1, x2, y2 = corners(boxes)
    return torch.stack((x1, y1, x2 - x1, y2 - y1), dim=-1)
