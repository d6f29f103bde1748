"""The records that travel between the layers: frozen, made of tensors, valid when empty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

from motedet.errors import ShapeError, check_boxes

BACKGROUND: Final = -1
IGNORED: Final = -2

Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What is true in one image, in pixels of the network input.

    Attributes:
        boxes: [G, 4] xyxy.
        labels: [G] int64, 0-based, no background class.
        ignore_boxes: [I, 4] xyxy, regions in which nothing counts (COCO crowds).
        image_size: (height, width) of the resized image, before any padding.
        padded_size: (height, width) to which this image alone was padded. Cells of the feature
            maps beyond it, which exist because another image of the batch is larger, are not valid.
        seed: whatever is random about this image in the loss starts from it, so that a step does
            not depend on the number of processes, nor on having been resumed.
    """

    boxes: Tensor
    labels: Tensor
    ignore_boxes: Tensor
    image_size: Size
    padded_size: Size
    seed: int = 0

    def __post_init__(self) -> None:
        """Check shapes; values are checked where data enters.

        Raises:
            ShapeError: if the tensors do not fit together.
        """
        check_boxes(self.boxes, "Targets.boxes")
        check_boxes(self.ignore_boxes, "Targets.ignore_boxes")
        if self.labels.shape != self.boxes.shape[:1] or self.labels.dtype != torch.int64:
            raise ShapeError(
                f"Targets.labels must be int64 [{len(self.boxes)}], one per box; "
                f"got {self.labels.dtype} {list(self.labels.shape)}."
            )

    @classmethod
    def of(cls, boxes: Tensor, labels: Tensor, image_size: Size) -> Self:
        """Targets of an unpadded image without ignore regions.

        Args:
            boxes: [G, 4] xyxy in pixels.
            labels: [G] int64.
            image_size: (height, width) of the network input.
        """
        return cls(boxes, labels, boxes.new_zeros(0, 4), image_size, image_size)

    def to(self, device: torch.device | str) -> "Targets":
        """The same record with its tensors on `device`."""
        return Targets(
            self.boxes.to(device),
            self.labels.to(device),
            self.ignore_boxes.to(device),
            self.image_size,
            self.padded_size,
            self.seed,
        )


@dataclass(frozen=True, slots=True)
class PackedTargets:
    """The objects of a whole batch in one list, each with its image: no padding, no loop.

    Attributes:
        boxes: [G, 4] xyxy of all images, image after image.
        labels: [G] int64.
        image_index: [G] int64, non-decreasing.
        ignore_boxes: [I, 4] xyxy.
        ignore_image_index: [I] int64, non-decreasing.
        image_sizes: (height, width) of each image without its padding.
        valid_sizes: (height, width) per image within which priors take part; None if all do.
        allowed_border: only priors that reach at most so many pixels out of their image take part;
            None for no such rule.
    """

    boxes: Tensor
    labels: Tensor
    image_index: Tensor
    ignore_boxes: Tensor
    ignore_image_index: Tensor
    image_sizes: tuple[Size, ...]
    valid_sizes: tuple[Size, ...] | None = None
    allowed_border: float | None = None

    @property
    def num_images(self) -> int:
        """B."""
        return len(self.image_sizes)

    @classmethod
    def pack(
        cls,
        targets: Sequence[Targets],
        *,
        limit_to_padding: bool = False,
        allowed_border: float | None = None,
    ) -> Self:
        """Concatenate the targets of a batch.

        Args:
            targets: one record per image, at least one.
            limit_to_padding: let only priors inside each image's `padded_size` take part, as the
                published anchor detectors do.
            allowed_border: pixels by which a prior may reach out of its image and still take part;
                None lets all.
        """
        return cls(
            boxes=torch.cat([t.boxes for t in targets]),
            labels=torch.cat([t.labels for t in targets]),
            image_index=_image_index([t.boxes for t in targets]),
            ignore_boxes=torch.cat([t.ignore_boxes for t in targets]),
            ignore_image_index=_image_index([t.ignore_boxes for t in targets]),
            image_sizes=tuple(t.image_size for t in targets),
            valid_sizes=tuple(t.padded_size for t in targets) if limit_to_padding else None,
            allowed_border=allowed_border,
        )


def _image_index(boxes: Sequence[Tensor]) -> Tensor:
    """[sum of lengths] int64, the position of the list that each box comes from."""
    device = boxes[0].device
    counts = torch.tensor([len(b) for b in boxes], device=device)  # [B]
    total = sum(len(b) for b in boxes)
    index = torch.arange(len(boxes), device=device)  # [B]
    return index.repeat_interleave(counts, output_size=total)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Candidate (prior, object) pairs of a batch.

    Attributes:
        prior: [E] int64, the prior within its image's grid.
        gt: [E] int64, a row of the packed targets; the image is that row's image.
    """

    prior: Tensor
    gt: Tensor

    def __len__(self) -> int:
        """The number of pairs, E."""
        return len(self.prior)

    def __getitem__(self, keep: Tensor) -> "Pairs":
        """The pairs chosen by a [E] bool mask or an int64 index."""
        return Pairs(self.prior[keep], self.gt[keep])


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which ground truth each prior answers for.

    Attributes:
        gt_index: [B, P] int64. A row of the packed ground truth, or BACKGROUND, or IGNORED.
        quality: [B, P] the score that decided the match, 0 where there is none.
    """

    gt_index: Tensor
    quality: Tensor

    @property
    def positive(self) -> Tensor:
        """[B, P] bool, the priors that answer for a ground truth."""
        return self.gt_index >= 0

    @property
    def ignored(self) -> Tensor:
        """[B, P] bool, the priors that take no part in the loss."""
        return self.gt_index == IGNORED


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a detector says at each prior, for assigners that look at it; without gradient.

    Attributes:
        scores: [B, P, K] probabilities of the classes.
        logits: [B, P, K] the same before the sigmoid.
        boxes: [B, P, 4] xyxy in pixels, not clipped to the image.
    """

    scores: Tensor
    logits: Tensor
    boxes: Tensor

    def __post_init__(self) -> None:
        """Check shapes.

        Raises:
            ShapeError: if the tensors do not fit together.
        """
        shape = self.scores.shape
        if len(shape) != 3 or self.logits.shape != shape or self.boxes.shape != (*shape[:2], 4):
            raise ShapeError(
                "Predictions need scores and logits [B, P, K] and boxes [B, P, 4]; got "
                f"{list(shape)}, {list(self.logits.shape)} and {list(self.boxes.shape)}."
            )


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in one image, best first.

    Attributes:
        boxes: [D, 4] xyxy in pixels.
        scores: [D] in [0, 1].
        labels: [D] int64, 0-based.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        """Check shapes.

        Raises:
            ShapeError: if the tensors do not fit together.
        """
        check_boxes(self.boxes, "Detections.boxes")
        count = self.boxes.shape[:1]
        if self.scores.shape != count or self.labels.shape != count:
            raise ShapeError(
                f"Detections need one score and one label per box; got {len(self.boxes)} boxes, "
                f"scores {list(self.scores.shape)}, labels {list(self.labels.shape)}."
            )

    @classmethod
    def empty(cls, device: torch.device | str = "cpu") -> Self:
        """No detections."""
        return cls(
            torch.zeros(0, 4, device=device),
            torch.zeros(0, device=device),
            torch.zeros(0, dtype=torch.int64, device=device),
        )

    def __len__(self) -> int:
        """The number of detections, D."""
        return len(self.boxes)

    def __getitem__(self, keep: Tensor) -> "Detections":
        """The detections chosen by a [D] bool mask or an int64 index."""
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep])

    def to(self, device: torch.device | str) -> "Detections":
        """The same record with its tensors on `device`."""
        return Detections(self.boxes.to(device), self.scores.to(device), self.labels.to(device))

    def as_dict(self) -> dict[str, Tensor]:
        """Torchvision's convention: `boxes`, `labels`, `scores`."""
        return {"boxes": self.boxes, "labels": self.labels, "scores": self.scores}
