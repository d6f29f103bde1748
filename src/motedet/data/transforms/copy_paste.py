"""More of the few tiny objects an image has (Kisantal et al. 2019, arXiv 1902.07296)."""

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.data.sample import Sample
from motedet.data.transforms.draws import check_probability, happens, whole
from motedet.data.transforms.flip import mirror_x, mirror_y
from motedet.errors import ShapeError

_TRIES: Final = 10  # places that are tried for one copy


@dataclass(frozen=True, kw_only=True)
class CopyPaste:
    """Copy small objects to free places of the same image, mirrored at random.

    An object is copied with a margin in which it fades into its new surroundings, and only if
    nothing else reaches into that margin. Copies never cover an object or an ignored region.

    Attributes:
        copies: most copies in one image; each image draws 1 to `copies`.
        max_size: objects with a longer side are not copied, in pixels.
        margin: in pixels.
        prob: how often.
    """

    kind: Literal["copy_paste"] = "copy_paste"
    copies: int = 3
    max_size: float = 32.0
    margin: int = 3
    prob: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_probability(self.prob, "prob")
        if self.copies < 1 or self.margin < 1 or not self.max_size > 0:
            raise ValueError(
                "copies, margin and max_size must be positive; "
                f"got {self.copies}, {self.margin} and {self.max_size}."
            )

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Paste copies, or not.

        Raises:
            ShapeError: if the image is normalised already.
        """
        if sample.image.dtype != torch.uint8:
            raise ShapeError(
                f"copy_paste needs uint8 pixels; got {sample.image.dtype}. Put it before normalise."
            )
        if not happens(generator, self.prob):
            return sample
        sources = self._sources(sample)  # [S] rows of the boxes
        if not sources:
            return sample
        pasted = replace(sample, image=sample.image.clone())
        for _ in range(whole(generator, 1, self.copies)):
            row = sources[whole(generator, 0, len(sources) - 1)]
            pasted = self._paste(pasted, sample, row, generator)
        return pasted

    def _sources(self, sample: Sample) -> list[int]:
        """Objects that are small, and alone in their window."""
        taken = torch.cat([sample.boxes, sample.ignore_boxes])  # [N, 4]
        sides = sample.boxes[:, 2:] - sample.boxes[:, :2]  # [G, 2]
        rows = torch.nonzero((sides <= self.max_size).all(dim=1)).flatten().tolist()
        return [row for row in rows if _touching(taken, self._window(sample, row)) == 1]

    def _window(self, sample: Sample, row: int) -> tuple[int, int, int, int]:
        """Whole pixels around an object with its margin, xyxy, inside the image."""
        x1, y1, x2, y2 = sample.boxes[row].tolist()
        height, width = sample.image_size
        return (
            max(floor(x1) - self.margin, 0),
            max(floor(y1) - self.margin, 0),
            min(ceil(x2) + self.margin, width),
            min(ceil(y2) + self.margin, height),
        )

    def _paste(
        self, pasted: Sample, source: Sample, row: int, generator: torch.Generator
    ) -> Sample:
        """One more object, if a free place is found."""
        x1, y1, x2, y2 = self._window(source, row)
        width, height = x2 - x1, y2 - y1
        patch = source.image[:, y1:y2, x1:x2]  # [3, h, w]
        box = source.boxes[row : row + 1] - source.boxes.new_tensor([x1, y1, x1, y1])  # [1, 4]
        if happens(generator, 0.5):
            patch, box = patch.flip(2), mirror_x(box, width)
        if happens(generator, 0.5):
            patch, box = patch.flip(1), mirror_y(box, height)
        taken = torch.cat([pasted.boxes, pasted.ignore_boxes])  # [N, 4]
        for _ in range(_TRIES):
            left = whole(generator, 0, source.image_size[1] - width)
            top = whole(generator, 0, source.image_size[0] - height)
            if _touching(taken, (left, top, left + width, top + height)):
                continue
            place = pasted.image[:, top : top + height, left : left + width]  # [3, h, w], a view
            place.copy_(_faded(place, patch, self.margin))
            return replace(
                pasted,
                boxes=torch.cat([pasted.boxes, box + box.new_tensor([left, top, left, top])]),
                labels=torch.cat([pasted.labels, source.labels[row : row + 1]]),
            )
        return pasted


def _touching(boxes: Tensor, window: tuple[int, int, int, int]) -> int:
    """How many of [N, 4] boxes reach into a window."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    inside = (x1 < window[2]) & (x2 > window[0]) & (y1 < window[3]) & (y2 > window[1])
    return int(inside.sum())


def _faded(place: Tensor, patch: Tensor, margin: int) -> Tensor:
    """[3, h, w] uint8: the patch, fading into the place towards its edges."""
    ramps = []
    for length in patch.shape[1:]:
        position = torch.arange(length, dtype=torch.float32)  # [length]
        edge = torch.minimum(position + 1, length - position)
        ramps.append((edge / (margin + 1)).clamp(max=1.0))
    alpha = ramps[0][:, None] * ramps[1][None, :]  # [h, w]
    mixed = torch.lerp(place.float(), patch.float(), alpha)  # [3, h, w]
    return (mixed + 0.5).to(torch.uint8)
