"""Random windows of an image."""

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Literal

import torch
from torch import Tensor

from motedet.data.sample import Sample
from motedet.data.transforms.draws import check_probability, happens, whole
from motedet.geometry.boxes import box_area, clip_boxes


@dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """Cut a window of one size out of the image.

    An image that is smaller than the window along an axis stays whole along it. Objects of which
    too little is left are taken out of the objects and become ignored regions, so that the rest of
    them is not learned as background. There is no smallest size in pixels.

    Attributes:
        size: (height, width) of the window in pixels.
        object_prob: how often the window is laid around an object chosen at random, all of it
            inside if it fits; otherwise it is laid anywhere.
        min_visible: an object counts if at least this part of its area is inside.
    """

    kind: Literal["random_crop"] = "random_crop"
    size: tuple[int, int] = (512, 512)
    object_prob: float = 0.8
    min_visible: float = 0.3

    def __post_init__(self) -> None:
        """Check the ranges."""
        if min(self.size) < 1:
            raise ValueError(f"size must be positive; got {self.size}.")
        check_probability(self.object_prob, "object_prob")
        check_probability(self.min_visible, "min_visible")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Draw a window and cut it out."""
        height, width = sample.image_size
        window = (min(self.size[0], height), min(self.size[1], width))
        around = happens(generator, self.object_prob) and len(sample.boxes) > 0
        x_span, y_span = (0.0, 0.0), (0.0, 0.0)
        if around:
            chosen = whole(generator, 0, len(sample.boxes) - 1)
            x1, y1, x2, y2 = sample.boxes[chosen].tolist()
            x_span, y_span = (x1, x2), (y1, y2)
        ranges = [
            offset_range(height, window[0], y_span if around else None),
            offset_range(width, window[1], x_span if around else None),
        ]
        top, left = (whole(generator, low, high) for low, high in ranges)
        return crop_sample(sample, (top, left), window, min_visible=self.min_visible)


def offset_range(length: int, window: int, span: tuple[float, float] | None) -> tuple[int, int]:
    """Where a window may start along one axis.

    Args:
        length: of the image.
        window: length of the window, at most `length`.
        span: start and end of an object that shall be inside, as far as it fits.

    Returns:
        First and last start.
    """
    last = length - window
    if span is None:
        return 0, last
    low = min(max(ceil(span[1]) - window, 0), last)
    high = min(max(floor(span[0]), 0), last)
    return min(low, high), max(low, high)


def crop_sample(
    sample: Sample, offset: tuple[int, int], size: tuple[int, int], *, min_visible: float
) -> Sample:
    """The sample seen through a window.

    Args:
        sample: not padded.
        offset: (top, left) of the window in pixels.
        size: (height, width) of the window.
        min_visible: objects with a smaller part of their area inside become ignored regions.
    """
    (top, left), (height, width) = offset, size
    boxes, visible = _through(sample.boxes, offset, size)  # [G, 4], [G]
    ignore_boxes, ignore_visible = _through(sample.ignore_boxes, offset, size)  # [I, 4], [I]
    keep = (visible >= min_visible) & (visible > 0)  # [G]
    remains = boxes[~keep & (visible > 0)]
    return replace(
        sample,
        image=sample.image[:, top : top + height, left : left + width],
        boxes=boxes[keep],
        labels=sample.labels[keep],
        ignore_boxes=torch.cat([ignore_boxes[ignore_visible > 0], remains]),
        image_size=size,
        padded_size=size,
    )


def _through(
    boxes: Tensor, offset: tuple[int, int], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """[N, 4] boxes in the coordinates of a window, clipped; [N] visible part of their area."""
    shift = boxes.new_tensor([offset[1], offset[0]] * 2)  # [4]
    clipped = clip_boxes(boxes - shift, size)  # [N, 4]
    area = box_area(boxes).clamp(min=1e-9)  # [N]
    return clipped, box_area(clipped) / area
