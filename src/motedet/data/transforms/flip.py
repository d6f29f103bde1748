"""Mirroring and quarter turns: exact, without interpolation."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from motedet.data.sample import Sample
from motedet.data.transforms.draws import check_probability, happens, whole


@dataclass(frozen=True, kw_only=True)
class HorizontalFlip:
    """Swap left and right.

    Attributes:
        prob: how often.
    """

    kind: Literal["horizontal_flip"] = "horizontal_flip"
    prob: float = 0.5

    def __post_init__(self) -> None:
        """Check the probability."""
        check_probability(self.prob, "prob")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Flip, or not."""
        if not happens(generator, self.prob):
            return sample
        width = sample.image_size[1]
        return replace(
            sample,
            image=F.horizontal_flip(sample.image),
            boxes=mirror_x(sample.boxes, width),
            ignore_boxes=mirror_x(sample.ignore_boxes, width),
        )


@dataclass(frozen=True, kw_only=True)
class VerticalFlip:
    """Swap top and bottom: for pictures taken from above.

    Attributes:
        prob: how often.
    """

    kind: Literal["vertical_flip"] = "vertical_flip"
    prob: float = 0.5

    def __post_init__(self) -> None:
        """Check the probability."""
        check_probability(self.prob, "prob")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Flip, or not."""
        if not happens(generator, self.prob):
            return sample
        height = sample.image_size[0]
        return replace(
            sample,
            image=F.vertical_flip(sample.image),
            boxes=mirror_y(sample.boxes, height),
            ignore_boxes=mirror_y(sample.ignore_boxes, height),
        )


@dataclass(frozen=True, kw_only=True)
class RandomRotate90:
    """Turn counter-clockwise by 90, 180 or 270 degrees: for pictures taken from above.

    Attributes:
        prob: how often; the three angles are equally likely.
    """

    kind: Literal["random_rotate90"] = "random_rotate90"
    prob: float = 0.75

    def __post_init__(self) -> None:
        """Check the probability."""
        check_probability(self.prob, "prob")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Turn, or not."""
        if not happens(generator, self.prob):
            return sample
        turns = whole(generator, 1, 3)
        height, width = sample.image_size
        size = (width, height) if turns % 2 else (height, width)
        return replace(
            sample,
            image=sample.image.rot90(turns, (1, 2)),
            boxes=rotate_boxes(sample.boxes, (height, width), turns),
            ignore_boxes=rotate_boxes(sample.ignore_boxes, (height, width), turns),
            image_size=size,
            padded_size=size,
        )


def mirror_x(boxes: Tensor, width: int) -> Tensor:
    """[N, 4] boxes in an image whose left and right are swapped."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=-1)  # [N, 4]


def mirror_y(boxes: Tensor, height: int) -> Tensor:
    """[N, 4] boxes in an image whose top and bottom are swapped."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([x1, height - y2, x2, height - y1], dim=-1)  # [N, 4]


def rotate_boxes(boxes: Tensor, size: tuple[int, int], turns: int) -> Tensor:
    """[N, 4] boxes after counter-clockwise quarter turns.

    Args:
        boxes: [N, 4] xyxy before the turn.
        size: (height, width) before the turn.
        turns: number of quarter turns.
    """
    for _ in range(turns):
        x1, y1, x2, y2 = boxes.unbind(-1)
        boxes = torch.stack([y1, size[1] - x2, y2, size[1] - x1], dim=-1)  # [N, 4]
        size = (size[1], size[0])
    return boxes
