"""Brightness, contrast and saturation, and what the network's first layer expects."""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from motedet.data.sample import Sample
from motedet.data.transforms.draws import check_probability, happens, uniform
from motedet.errors import ShapeError


@dataclass(frozen=True, kw_only=True)
class ColourJitter:
    """Change brightness, contrast and saturation at random, in one pass over the pixels.

    Attributes:
        brightness: pixels are multiplied by a factor in [1 - b, 1 + b].
        contrast: differences to the mean are multiplied by a factor in [1 - c, 1 + c].
        saturation: differences to grey are multiplied by a factor in [1 - s, 1 + s].
        prob: how often.
    """

    kind: Literal["colour_jitter"] = "colour_jitter"
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.0
    prob: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_probability(self.brightness, "brightness")
        check_probability(self.contrast, "contrast")
        check_probability(self.saturation, "saturation")
        check_probability(self.prob, "prob")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Draw three factors and apply them.

        Raises:
            ShapeError: if the image is normalised already.
        """
        if sample.image.dtype != torch.uint8:
            raise ShapeError(
                f"colour_jitter needs uint8 pixels; got {sample.image.dtype}. "
                "Put it before normalise."
            )
        if not happens(generator, self.prob):
            return sample
        light = uniform(generator, 1 - self.brightness, 1 + self.brightness)
        gain = uniform(generator, 1 - self.contrast, 1 + self.contrast)
        purity = uniform(generator, 1 - self.saturation, 1 + self.saturation)
        pixels = sample.image.to(torch.float32)  # [3, H, W]
        offset = pixels.mean() * (light * (1 - gain))
        if self.saturation > 0:
            grey = pixels.mean(dim=0, keepdim=True)  # [1, H, W]
            pixels = grey.lerp(pixels, purity)  # [3, H, W]
        pixels = pixels.mul_(light * gain).add_(offset + 0.5).clamp_(0, 255)  # 0.5: round half up
        return replace(sample, image=pixels.to(torch.uint8))


@dataclass(frozen=True, kw_only=True)
class Normalise:
    """Bring pixels to the range a backbone was trained on; the last step before padding.

    Attributes:
        mean: per channel, for pixels in 0..255, in the order that the network reads.
        std: likewise.
        bgr: the network reads blue, green, red (weights of caffe style).
    """

    kind: Literal["normalise"] = "normalise"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    bgr: bool = False

    def __post_init__(self) -> None:
        """Reject a division by zero."""
        if not min(self.std) > 0:
            raise ValueError(f"std must be positive; got {self.std}.")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Normalise a sample; `generator` is not used."""
        image = sample.image.flip(0) if self.bgr else sample.image  # [3, H, W]
        mean = torch.tensor(self.mean)[:, None, None]  # [3, 1, 1]
        std = torch.tensor(self.std)[:, None, None]  # [3, 1, 1]
        # plane by plane is several times faster than pixel by pixel for broadcasting over planes
        pixels = image.contiguous().to(torch.float32)
        if pixels is sample.image:
            pixels = pixels.clone()
        return replace(sample, image=pixels.sub_(mean).div_(std))
