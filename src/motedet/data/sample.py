"""One image with its objects on the way to the network, and a batch of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from motedet.errors import ShapeError
from motedet.structures import Size, Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An image and what is true in it; transforms turn one sample into the next.

    Attributes:
        image: [3, H, W] uint8, float32 once distorted or normalised.
        boxes: [G, 4] float32 xyxy in pixels of `image`.
        labels: [G] int64.
        ignore_boxes: [I, 4] float32 xyxy, regions in which nothing counts.
        image_id: as in the annotation file.
        original_size: (height, width) of the image file.
        image_size: (height, width) of the content of `image`, without padding.
        padded_size: (height, width) of `image`.
        seed: what the loss draws for this image starts from it.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    ignore_boxes: Tensor
    image_id: int
    original_size: Size
    image_size: Size
    padded_size: Size
    seed: int = 0

    @classmethod
    def of_image(cls, image: Tensor, *, image_id: int = 0) -> Self:
        """An image without known objects.

        Args:
            image: [3, H, W].
            image_id: any number.

        Raises:
            ShapeError: unless the image has three channels.
        """
        if image.ndim != 3 or image.shape[0] != 3:
            raise ShapeError(f"image must be [3, H, W]; got {image.dtype} {list(image.shape)}.")
        size = (image.shape[1], image.shape[2])
        return cls(
            image=image,
            boxes=torch.zeros(0, 4),
            labels=torch.zeros(0, dtype=torch.int64),
            ignore_boxes=torch.zeros(0, 4),
            image_id=image_id,
            original_size=size,
            image_size=size,
            padded_size=size,
        )

    def targets(self) -> Targets:
        """What is true in the image, as the detector's loss takes it."""
        return Targets(
            self.boxes,
            self.labels,
            self.ignore_boxes,
            self.image_size,
            self.padded_size,
            self.seed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Samples padded at the bottom and the right to one size.

    Attributes:
        images: [B, 3, H, W].
        targets: one per image.
        image_ids: one per image, as in the annotation file.
        original_sizes: (height, width) of each image file.
        image_sizes: (height, width) of each image's content, without padding.
    """

    images: Tensor
    targets: list[Targets]
    image_ids: list[int]
    original_sizes: list[Size]
    image_sizes: list[Size]

    def __len__(self) -> int:
        """The number of images, B."""
        return len(self.targets)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on `device`."""
        return Batch(
            images=self.images.to(device, non_blocking=True),
            targets=[targets.to(device) for targets in self.targets],
            image_ids=self.image_ids,
            original_sizes=self.original_sizes,
            image_sizes=self.image_sizes,
        )

    def pin_memory(self) -> "Batch":
        """The same batch with its images in pinned memory; `DataLoader` calls this."""
        return Batch(
            images=self.images.pin_memory(),
            targets=self.targets,
            image_ids=self.image_ids,
            original_sizes=self.original_sizes,
            image_sizes=self.image_sizes,
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Put samples of any sizes into one batch; the rest of each image is 0.

    Args:
        samples: at least one, all of one type.
    """
    height = max(sample.image.shape[1] for sample in samples)
    width = max(sample.image.shape[2] for sample in samples)
    images = samples[0].image.new_zeros(len(samples), 3, height, width)  # [B, 3, H, W]
    for slot, sample in zip(images, samples, strict=True):
        slot[:, : sample.image.shape[1], : sample.image.shape[2]] = sample.image
    return Batch(
        images=images,
        targets=[sample.targets() for sample in samples],
        image_ids=[sample.image_id for sample in samples],
        original_sizes=[sample.original_size for sample in samples],
        image_sizes=[sample.image_size for sample in samples],
    )
