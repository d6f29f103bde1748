"""Smaller objects by a larger canvas (Liu et al. 2016, SSD, arXiv 1512.02325)."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from motedet.data.sample import Sample
from motedet.data.transforms.draws import Draws, GeneratorDraws, check_probability, happens


@dataclass(frozen=True, kw_only=True)
class Expand:
    """Lay the image anywhere on a larger canvas of one colour; before `Normalise`.

    Attributes:
        mean: colour of the canvas, RGB in 0..255; rounded where pixels are uint8.
        ratio: smallest and largest side of the canvas relative to the image's.
        prob: how often.
    """

    kind: Literal["expand"] = "expand"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    ratio: tuple[float, float] = (1.0, 4.0)
    prob: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_probability(self.prob, "prob")
        if not 1 <= self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio needs 1 <= smallest <= largest; got {self.ratio}.")
        if not 0 <= min(self.mean) <= max(self.mean) <= 255:
            raise ValueError(f"mean must lie in [0, 255]; got {self.mean}.")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Expand, or not."""
        if not happens(generator, self.prob):
            return sample
        return self.with_draws(sample, GeneratorDraws(generator))

    def with_draws(self, sample: Sample, draws: Draws) -> Sample:
        """Expand with given random numbers, drawn in the published order.

        Args:
            sample: not padded; pixels uint8, or float32 in 0..255.
            draws: gives the ratio, the left and the upper margin.
        """
        height, width = sample.image_size
        ratio = draws.uniform(*self.ratio)
        left = int(draws.uniform(0, width * ratio - width))
        top = int(draws.uniform(0, height * ratio - height))
        size = (int(height * ratio), int(width * ratio))
        canvas = self._canvas(sample.image, size)  # [3, H, W]
        canvas[:, top : top + height, left : left + width] = sample.image
        shift = sample.boxes.new_tensor([left, top, left, top])  # [4]
        return replace(
            sample,
            image=canvas,
            boxes=sample.boxes + shift,
            ignore_boxes=sample.ignore_boxes + shift,
            image_size=size,
            padded_size=size,
        )

    def _canvas(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """[3, H, W] of the type of an image."""
        mean = torch.tensor(self.mean)  # [3]
        colour = mean if image.is_floating_point() else mean.round()  # [3]
        return colour.to(image.dtype)[:, None, None].repeat(1, *size)
