"""The factor by which one image is resized, from the sizes of its objects and what is wanted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from motedet.data.scale_match.histogram import SizeHistogram, Uniform
from motedet.structures import Size

OutOfRange = Literal["clip", "default"]
Outcome = Literal["matched", "out of range", "no objects", "vanished"]
Boxes = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ScaleLimits:
    """How far images may be resized, and what happens beyond.

    Attributes:
        default_scale: of images without objects, and of those whose objects would all vanish.
        scale_range: smallest and largest factor, both excluded.
        out_of_range: a factor beyond the range becomes the nearer end, or `default_scale`.
        plus_one: measure an object as one pixel wider and higher than its box, as published. The
            sizes of the data sets have no such pixel, so objects come out smaller than wanted by
            that share: 2 px objects by a third.
        min_side: objects with a shorter side after resizing vanish, in pixels.
    """

    default_scale: float = 0.25
    scale_range: tuple[float, float] = (0.1, 1.0)
    out_of_range: OutOfRange = "clip"
    plus_one: bool = True
    min_side: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.default_scale > 0:
            raise ValueError(f"default_scale must be positive; got {self.default_scale}.")
        if not 0 <= self.scale_range[0] < self.scale_range[1]:
            raise ValueError(f"scale_range must be 0 <= low < high; got {self.scale_range}.")
        if not self.min_side >= 0:
            raise ValueError(f"min_side must not be negative; got {self.min_side}.")

    def allows(self, scale: float) -> bool:
        """Whether a factor is inside the range."""
        return self.scale_range[0] < scale < self.scale_range[1]

    def settle(self, scale: float) -> float:
        """The factor to use when `scale` is wanted."""
        if self.allows(scale):
            return scale
        if self.out_of_range == "default":
            return self.default_scale
        low, high = self.scale_range
        return high if scale >= high else low


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScale:
    """What becomes of one image.

    Attributes:
        size: wanted (height, width) in pixels; either may be 0 for a tiny factor.
        wanted: the factor before limits; None for an image without objects.
        outcome: "vanished" if no object would be left, so that `default_scale` was used instead.
    """

    size: Size
    wanted: float | None
    outcome: Outcome


def choose_scale(
    boxes: Boxes, size: Size, wanted: Callable[[float], float], limits: ScaleLimits
) -> ImageScale:
    """The size that an image is resized to.

    Args:
        boxes: [G, 4] xyxy in pixels, of the objects that count; G may be 0.
        size: (height, width) of the image in pixels.
        wanted: mean size of the objects in pixels to the factor that is wanted.
        limits: what is allowed.
    """
    default = scaled_size(size, limits.default_scale)
    mean = mean_size(boxes, plus_one=limits.plus_one)
    if mean is None:
        return ImageScale(size=default, wanted=None, outcome="no objects")
    scale = wanted(mean)
    chosen = scaled_size(size, limits.settle(scale))
    if not _any_left(boxes, size, chosen, limits.min_side):
        return ImageScale(size=default, wanted=scale, outcome="vanished")
    outcome: Outcome = "matched" if limits.allows(scale) else "out of range"
    return ImageScale(size=chosen, wanted=scale, outcome=outcome)


def draw_scale(
    histogram: SizeHistogram, mean: float, *, uniform: Uniform, limits: ScaleLimits, max_tries: int
) -> float:
    """The factor that Scale Match draws: from the distribution again until one is allowed.

    Args:
        histogram: of the target.
        mean: size of the image's objects in pixels.
        uniform: two numbers per try are taken from it.
        limits: what is allowed.
        max_tries: at least 1; the last factor is returned if none was allowed.
    """
    scale = histogram.draw(uniform) / mean
    for _ in range(max_tries - 1):
        if limits.allows(scale):
            break
        scale = histogram.draw(uniform) / mean
    return scale


def mean_size(boxes: Boxes, *, plus_one: bool) -> float | None:
    """Geometric mean of the sizes of an image's objects.

    Args:
        boxes: [G, 4] xyxy in pixels.
        plus_one: add a pixel to both sides of every box.

    Returns:
        In pixels; None if no box has a positive area.
    """
    sides = boxes[:, 2:] - boxes[:, :2] + np.float32(plus_one)  # [G, 2]
    sides = sides[(sides > 0).all(axis=1)]  # [G', 2]
    if not len(sides):
        return None
    return float(np.exp(np.log(np.sqrt(sides[:, 0] * sides[:, 1])).mean()))


def scaled_size(size: Size, scale: float) -> Size:
    """(height, width) times a factor, rounded half to even as published."""
    return round(scale * size[0]), round(scale * size[1])


def fitted_size(size: Size, wanted: Size, *, keep_ratio: bool) -> Size:
    """The size that an image gets when one is wanted, at least 1 x 1.

    Args:
        size: (height, width) of the image in pixels.
        wanted: (height, width).
        keep_ratio: the largest size of the image's shape within the wanted one, rounded half up;
            one side may be a pixel shorter than wanted.
    """
    height, width = wanted
    if keep_ratio:
        factor = min(max(wanted) / max(size), min(wanted) / min(size))
        height, width = (int(side * factor + 0.5) for side in size)
    return max(height, 1), max(width, 1)


def _any_left(boxes: Boxes, size: Size, scaled: Size, min_side: float) -> bool:
    """Whether an object keeps sides of `min_side` when an image changes its size."""
    ratio = np.array([scaled[1] / size[1], scaled[0] / size[0]] * 2, dtype=np.float32)  # [4]
    resized = boxes * ratio  # [G, 4]
    sides = resized[:, 2:] - resized[:, :2]  # [G, 2]
    return bool((sides >= min_side).all(axis=1).any())
