"""The colour distortion of SSD (Liu et al. 2016, arXiv 1512.02325), as TinyDet trains with it."""

from dataclasses import dataclass, replace
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.data.sample import Sample
from motedet.data.transforms.draws import Draws, GeneratorDraws
from motedet.errors import ShapeError

EPS: Final = 1.1920929e-07  # float32's; keeps black and grey pixels from dividing by zero


@dataclass(frozen=True, kw_only=True)
class PhotometricDistortion:
    """Change brightness, contrast, saturation, hue and the order of channels, each half the time.

    Nothing is rounded or clipped, as published: the image becomes float32 and leaves 0..255 a
    little, which resizing, flips, crops, padding and `Normalise` take. Pixels that are negative in
    all channels come out of the change of hue and saturation positive.

    Attributes:
        brightness: a number in [-b, b] is added to every pixel.
        contrast: pixels are multiplied by a number of this range, before the change of hue and
            saturation or after it.
        saturation: likewise the saturation.
        hue: a number of degrees in [-h, h] is added to the hue.
    """

    kind: Literal["photometric_distortion"] = "photometric_distortion"
    brightness: float = 32.0
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: float = 18.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, (low, high) in (("contrast", self.contrast), ("saturation", self.saturation)):
            if not 0 <= low <= high:
                raise ValueError(f"{name} needs 0 <= low <= high; got {low} and {high}.")
        if not self.brightness >= 0 or not 0 <= self.hue <= 180:
            raise ValueError(
                "brightness must not be negative and hue must lie in [0, 180] degrees; "
                f"got {self.brightness} and {self.hue}."
            )

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Distort the image.

        Raises:
            ShapeError: if the image is normalised already.
        """
        if sample.image.dtype != torch.uint8:
            raise ShapeError(
                f"photometric_distortion needs uint8 pixels; got {sample.image.dtype}. "
                "Put it first, and only once."
            )
        pixels = sample.image.to(torch.float32, memory_format=torch.contiguous_format)  # [3, H, W]
        return replace(sample, image=self.distort(pixels, GeneratorDraws(generator)))

    def distort(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Distort pixels with given random numbers, drawn in the published order.

        Args:
            pixels: [3, H, W] float32 RGB in 0..255.
            draws: gives one number after the other.

        Returns:
            [3, H, W] float32.
        """
        if draws.randint(2):
            pixels = pixels + draws.uniform(-self.brightness, self.brightness)
        contrast_first = draws.randint(2)
        if contrast_first:
            pixels = self._contrast(pixels, draws)
        pixels = self._hue_and_saturation(pixels, draws)
        if not contrast_first:
            pixels = self._contrast(pixels, draws)
        if draws.randint(2):
            # drawn for blue, green, red; our channels are the other way round
            pixels = pixels[[2 - int(channel) for channel in draws.permutation(3)][::-1]]
        return pixels

    def _contrast(self, pixels: Tensor, draws: Draws) -> Tensor:
        return pixels * draws.uniform(*self.contrast) if draws.randint(2) else pixels

    def _hue_and_saturation(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Converted there and back even if nothing changes: negative pixels change by that."""
        hue, saturation, value = rgb_to_hsv(pixels)
        if draws.randint(2):
            saturation = saturation * draws.uniform(*self.saturation)
        if draws.randint(2):
            hue = hue + draws.uniform(-self.hue, self.hue)
        return hsv_to_rgb(hue, saturation, value)


def rgb_to_hsv(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation and value, of pixels that may be negative.

    Args:
        pixels: [3, H, W] float RGB.

    Returns:
        [H, W] each: degrees in [0, 360], chroma relative to |value|, and the largest channel.
    """
    red, green, blue = pixels.unbind(0)
    value = pixels.amax(dim=0)  # [H, W]
    chroma = value - pixels.amin(dim=0)  # [H, W]
    degrees = 60 / (chroma + EPS)  # [H, W]
    hue = torch.where(
        value == green, (blue - red) * degrees + 120, (red - green) * degrees + 240
    )  # [H, W]
    hue = torch.where(value == red, (green - blue) * degrees, hue)
    return torch.where(hue < 0, hue + 360, hue), chroma / (value.abs() + EPS), value


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The way back.

    Args:
        hue: [H, W] in degrees; a full turn more or less is the same.
        saturation: [H, W].
        value: [H, W].

    Returns:
        [3, H, W] RGB.
    """
    chroma = value * saturation  # [H, W]
    turn = torch.remainder(hue / 60, 6)  # [H, W] red at 0, green at 2, blue at 4
    lacking = (
        (2 - (turn - 3).abs()).clamp(0, 1),  # [H, W] of red
        ((turn - 2).abs() - 1).clamp(0, 1),
        ((turn - 4).abs() - 1).clamp(0, 1),
    )
    return torch.stack([value - chroma * share for share in lacking])  # [3, H, W]
