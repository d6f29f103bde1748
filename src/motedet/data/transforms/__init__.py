"""What happens to an image and its boxes on the way to the network.

Every transform is a frozen dataclass, its own recipe, called with a sample and a generator.
Geometry comes before `Normalise`, and `Pad` is last.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from motedet.data.sample import Sample
from motedet.data.transforms.colour import ColourJitter, Normalise
from motedet.data.transforms.copy_paste import CopyPaste
from motedet.data.transforms.crop import RandomCrop
from motedet.data.transforms.expand import Expand
from motedet.data.transforms.flip import HorizontalFlip, RandomRotate90, VerticalFlip
from motedet.data.transforms.min_iou_crop import MinIoUCrop
from motedet.data.transforms.pad import Pad
from motedet.data.transforms.photometric import PhotometricDistortion
from motedet.data.transforms.resize import RandomScale, Resize, ResizeKeepRatio, Scale
from motedet.data.transforms.scale_match import MonotoneScaleMatch, ScaleMatch

__all__ = [
    "AnyTransform",
    "ColourJitter",
    "Compose",
    "CopyPaste",
    "Expand",
    "HorizontalFlip",
    "MinIoUCrop",
    "MonotoneScaleMatch",
    "Normalise",
    "Pad",
    "PhotometricDistortion",
    "RandomCrop",
    "RandomRotate90",
    "RandomScale",
    "Resize",
    "ResizeKeepRatio",
    "Scale",
    "ScaleMatch",
    "VerticalFlip",
]

AnyTransform = Annotated[
    ColourJitter
    | CopyPaste
    | Expand
    | HorizontalFlip
    | MinIoUCrop
    | MonotoneScaleMatch
    | Normalise
    | Pad
    | PhotometricDistortion
    | RandomCrop
    | RandomRotate90
    | RandomScale
    | Resize
    | ResizeKeepRatio
    | Scale
    | ScaleMatch
    | VerticalFlip,
    Field(discriminator="kind"),
]


class Compose:
    """Several transforms, one after the other."""

    def __init__(self, transforms: Sequence[AnyTransform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Apply all of them in order."""
        for transform in self.transforms:
            sample = transform(sample, generator)
        return sample
