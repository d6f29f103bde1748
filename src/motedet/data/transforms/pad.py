"""Padding to what the strides of a network divide."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch.nn import functional as F

from motedet.data.sample import Sample


@dataclass(frozen=True, kw_only=True)
class Pad:
    """Pad at the bottom and the right until both sides are multiples of a number.

    Attributes:
        divisor: 32 in the published recipes.
        value: of the new pixels; 0 after `Normalise` is the mean colour.
    """

    kind: Literal["pad"] = "pad"
    divisor: int = 32
    value: float = 0.0

    def __post_init__(self) -> None:
        """Reject an empty divisor."""
        if self.divisor < 1:
            raise ValueError(f"divisor must be at least 1; got {self.divisor}.")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Pad a sample; `generator` is not used."""
        height, width = sample.image.shape[1:]
        below, right = -height % self.divisor, -width % self.divisor
        image = sample.image
        if below or right:
            image = F.pad(image, (0, right, 0, below), value=self.value)
        return replace(sample, image=image, padded_size=(height + below, width + right))
