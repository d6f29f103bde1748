"""Crops that keep a drawn share of objects (Liu et al. 2016, SSD, arXiv 1512.02325)."""

from dataclasses import dataclass, replace
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.data.sample import Sample
from motedet.data.transforms.draws import Draws, GeneratorDraws
from motedet.geometry.boxes import box_area, box_centers, clip_boxes
from motedet.geometry.iou import pairwise_iof, pairwise_iou
from motedet.structures import Size

TRIES: Final = 50  # windows for one overlap, as published
MAX_ASPECT: Final = 2.0  # of the longer side of a window to the shorter one, as published

Window = tuple[int, int, int, int]  # xyxy in whole pixels


@dataclass(frozen=True, kw_only=True)
class MinIoUCrop:
    """Cut out a window that overlaps objects by at least a drawn number, or keep the whole image.

    An overlap is drawn from `min_overlaps`, 0 (any window) and 1 (the whole image); then windows
    are drawn until one has it, and after 50 failures another overlap. Objects stay if their centre
    is inside; the others are dropped. Images without objects stay whole.

    The published transform compares a window with all objects by IoU, which no window reaches for
    tiny ones: practically only the overlaps 0 and 1 remain of those drawn. It is this transform
    with `overlap="iou"`, `objects="all"`, `margin="reversed"` and `plus_one=True`.

    Attributes:
        min_overlaps: between 0 and 1.
        min_side: shortest side of a window relative to the image's.
        overlap: of an object with a window: "coverage", the part of the object inside, or "iou".
        objects: how many must reach it, "any" one of them or "all".
        margin: the window lies anywhere, "uniform", or "reversed" from the far end to one pixel
            from the near one, as a call of numpy with one argument in place of two draws it.
        plus_one: count from the first to the last pixel, both included. The window compared is then
            a pixel wider, centres lie half a pixel further left, and objects at its right and lower
            edges end one pixel outside the image, as published until the next resize clips them.
    """

    kind: Literal["min_iou_crop"] = "min_iou_crop"
    min_overlaps: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    min_side: float = 0.3
    overlap: Literal["coverage", "iou"] = "coverage"
    objects: Literal["any", "all"] = "any"
    margin: Literal["uniform", "reversed"] = "uniform"
    plus_one: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not all(0 < overlap < 1 for overlap in self.min_overlaps):
            raise ValueError(f"min_overlaps must lie between 0 and 1; got {self.min_overlaps}.")
        if not 0 < self.min_side <= 1:
            raise ValueError(f"min_side must lie in (0, 1]; got {self.min_side}.")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Draw a window and cut it out."""
        return self.with_draws(sample, GeneratorDraws(generator))

    def with_draws(self, sample: Sample, draws: Draws) -> Sample:
        """Crop with given random numbers, drawn in the published order.

        Args:
            sample: not padded.
            draws: gives one number after the other; nothing is drawn without objects.
        """
        window = self._choose(sample, draws) if len(sample.boxes) else None
        return sample if window is None else self._cut(sample, window)

    def _choose(self, sample: Sample, draws: Draws) -> Window | None:
        """A window that fits, or None for the whole image."""
        choices = (1.0, *self.min_overlaps, 0.0)
        while (overlap := draws.choice(choices)) < 1:
            for _ in range(TRIES):
                window = self._draw(sample.image_size, draws)
                if window is not None and self._fits(sample.boxes, window, overlap):
                    return window
        return None

    def _draw(self, size: Size, draws: Draws) -> Window | None:
        """A window, unless it is too narrow."""
        height, width = size
        new_width = draws.uniform(self.min_side * width, width)
        new_height = draws.uniform(self.min_side * height, height)
        if max(new_height, new_width) > MAX_ASPECT * min(new_height, new_width):
            return None
        left = self._start(width - new_width, draws)
        top = self._start(height - new_height, draws)
        return int(left), int(top), int(left + new_width), int(top + new_height)

    def _start(self, margin: float, draws: Draws) -> float:
        """Of the window along one axis."""
        # numpy takes a single argument for the lower end, and 1 for the upper one
        return draws.uniform(0, margin) if self.margin == "uniform" else draws.uniform(margin, 1)

    def _fits(self, boxes: Tensor, window: Window, overlap: float) -> bool:
        """Whether enough of [G, 4] boxes is inside."""
        if not self._inside(boxes, window).any():
            return False
        area = boxes.new_tensor([window]) + self._last_pixel  # [1, 4]
        shares = pairwise_iou if self.overlap == "iou" else pairwise_iof
        overlaps = shares(boxes, area)  # [G, 1]
        reached = overlaps.amin() if self.objects == "all" else overlaps.amax()
        return bool(reached >= overlap)

    def _inside(self, boxes: Tensor, window: Window) -> Tensor:
        """[G] bool: the centre lies strictly inside."""
        centers = box_centers(boxes - self._last_pixel)  # [G, 2]
        edges = boxes.new_tensor(window)  # [4]
        return ((centers > edges[:2]) & (centers < edges[2:])).all(dim=1)

    def _cut(self, sample: Sample, window: Window) -> Sample:
        """The sample seen through a window."""
        left, top, right, bottom = window
        size = (bottom - top, right - left)
        keep = self._inside(sample.boxes, window)  # [G]
        edges = sample.boxes.new_tensor(window)  # [4]
        low, high = edges[:2].repeat(2), edges[2:].repeat(2)  # [4], [4]
        numbers = (sample.boxes[keep] - self._last_pixel).clamp(low, high)  # [K, 4]
        ignore_boxes = clip_boxes(sample.ignore_boxes - low, size)  # [I, 4]
        return replace(
            sample,
            image=sample.image[:, top:bottom, left:right],
            boxes=numbers - low + self._last_pixel,
            labels=sample.labels[keep],
            ignore_boxes=ignore_boxes[box_area(ignore_boxes) > 0],
            image_size=size,
            padded_size=size,
        )

    @property
    def _last_pixel(self) -> Tensor:
        """[4] how far boxes end after the last pixel they count."""
        return torch.tensor([0.0, 0.0, 1.0, 1.0]) * self.plus_one
