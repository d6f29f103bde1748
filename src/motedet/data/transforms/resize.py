"""Resizing. Boxes of any size survive: nothing is dropped or rounded."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torchvision.transforms.v2 import functional as F

from motedet.data.sample import Sample
from motedet.data.transforms.draws import uniform
from motedet.structures import Size


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Resize to an exact size, whatever the shape of the image.

    Attributes:
        size: (height, width) in pixels.
    """

    kind: Literal["resize"] = "resize"
    size: tuple[int, int] = (800, 800)

    def __post_init__(self) -> None:
        """Reject an empty size."""
        if min(self.size) < 1:
            raise ValueError(f"size must be positive; got {self.size}.")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Resize a sample; `generator` is not used."""
        return resize_sample(sample, self.size)


@dataclass(frozen=True, kw_only=True)
class ResizeKeepRatio:
    """Resize as much as both limits allow, keeping the shape of the image.

    The factor is the smaller of long / longer side and short / shorter side, and sides are rounded
    half up, as mmdetection does for `keep_ratio=True` and scale (long, short).

    Attributes:
        short: limit of the shorter side in pixels.
        long: limit of the longer side in pixels.
    """

    kind: Literal["resize_keep_ratio"] = "resize_keep_ratio"
    short: int = 800
    long: int = 1333

    def __post_init__(self) -> None:
        """Reject limits in the wrong order."""
        if not 1 <= self.short <= self.long:
            raise ValueError(f"need 1 <= short <= long; got {self.short} and {self.long}.")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Resize a sample; `generator` is not used."""
        height, width = sample.image_size
        factor = min(self.long / max(height, width), self.short / min(height, width))
        return resize_sample(sample, scaled_size(sample.image_size, factor))


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Enlarge or shrink every image by one factor.

    Attributes:
        factor: 1.25 makes an 8 px object 10 px.
    """

    kind: Literal["scale"] = "scale"
    factor: float = 1.0

    def __post_init__(self) -> None:
        """Reject a factor that leaves nothing."""
        if not self.factor > 0:
            raise ValueError(f"factor must be positive; got {self.factor}.")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Resize a sample; `generator` is not used."""
        return resize_sample(sample, scaled_size(sample.image_size, self.factor))


@dataclass(frozen=True, kw_only=True)
class RandomScale:
    """Enlarge or shrink by a random factor, in one interpolation with the factor of all images.

    Attributes:
        low: smallest random factor.
        high: largest random factor; the choice is uniform.
        factor: applied on top, what `Scale` would apply to test images.
    """

    kind: Literal["random_scale"] = "random_scale"
    low: float = 0.8
    high: float = 1.25
    factor: float = 1.0

    def __post_init__(self) -> None:
        """Reject a range that leaves nothing."""
        if not 0 < self.low <= self.high or not self.factor > 0:
            raise ValueError(
                "need 0 < low <= high and a positive factor; "
                f"got {self.low}, {self.high} and {self.factor}."
            )

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Draw a factor and resize."""
        factor = self.factor * uniform(generator, self.low, self.high)
        return resize_sample(sample, scaled_size(sample.image_size, factor))


def scaled_size(size: Size, factor: float) -> Size:
    """(height, width) times a factor, rounded half up, at least 1."""
    return max(int(size[0] * factor + 0.5), 1), max(int(size[1] * factor + 0.5), 1)


def resize_sample(sample: Sample, size: Size) -> Sample:
    """The sample at another size: bilinear, with area averaging where it shrinks.

    Args:
        sample: not padded.
        size: (height, width) in pixels.

    Returns:
        The image at `size`; boxes times the exact ratio of each axis.
    """
    if size == sample.image_size:
        return sample
    height, width = sample.image_size
    ratio = torch.tensor([size[1] / width, size[0] / height] * 2)  # [4]
    return replace(
        sample,
        image=F.resize(sample.image, list(size), antialias=True),
        boxes=sample.boxes * ratio,
        ignore_boxes=sample.ignore_boxes * ratio,
        image_size=size,
        padded_size=size,
    )
