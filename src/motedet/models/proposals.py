"""From objectness to the boxes of the second stage (Ren et al. 2015, arXiv:1506.01497)."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from motedet.geometry.nms import nms, similarity_nms
from motedet.models.postprocess import clip_to_images, wider_than
from motedet.structures import Detections, Size

Decode = Callable[[Tensor, Tensor], Tensor]
"""Boxes [E, 4] xyxy in pixels of the priors [E] int64 of images [E] int64."""


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """Which predictions of the first stage go on.

    Attributes:
        pre_nms: at most so many per level are decoded, by objectness; equal ones: lower index
            first.
        max_per_image: at most so many are returned, over all levels.
        nms_iou: a box is dropped above this similarity with a better one of its level.
        min_box_size: boxes must be wider and higher than this many pixels; negative keeps all.
        keep: pixels per axis of every box that stay in the image, even if it lies outside; 1 in
            TinyDet.
        similarity: "iou", or "nwd" for tiny objects (Wang et al. 2021, published with 0.85).
        nwd_constant: C of NWD in pixels, about the mean object size.
    """

    pre_nms: int = 2000
    max_per_image: int = 1000
    nms_iou: float = 0.7
    min_box_size: float = 0.0
    keep: float = 0.0
    similarity: Literal["iou", "nwd"] = "iou"
    nwd_constant: float = 12.8

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.pre_nms, self.max_per_image) < 1:
            raise ValueError(
                "pre_nms and max_per_image must be at least 1; "
                f"got {self.pre_nms}, {self.max_per_image}."
            )
        if not 0 <= self.nms_iou <= 1:
            raise ValueError(f"nms_iou must be in [0, 1]; got {self.nms_iou}.")
        if self.similarity == "nwd" and self.nms_iou == 0:
            raise ValueError("nms_iou must be above 0 with similarity 'nwd'; got 0.")
        if self.keep < 0:
            raise ValueError(f"keep must be 0 or more; got {self.keep}.")
        if not self.nwd_constant > 0:
            raise ValueError(f"nwd_constant must be positive; got {self.nwd_constant}.")

    def __call__(
        self,
        logits: Tensor,
        boxes: Decode,
        level_starts: Sequence[int],
        image_sizes: Sequence[Size],
    ) -> list[Detections]:
        """The proposals of each image, best first; their labels are levels.

        Gradients are the caller's business: proposals are treated as fixed, so call this under
        `torch.no_grad`.

        Args:
            logits: [B, P] objectness.
            boxes: decodes what is asked for, and only that.
            level_starts: index of the first prior of each level.
            image_sizes: (height, width) per image, to which boxes are clipped.
        """
        bounds = [*level_starts, logits.shape[1]]
        best = [
            _best(logits[:, start:end], self.pre_nms) + start
            for start, end in itertools.pairwise(bounds)
        ]
        sizes = [top.shape[1] for top in best]
        priors = torch.cat(best, dim=1)  # [B, N], level by level, best first
        scores = logits.gather(1, priors).sigmoid()  # [B, N]
        image = torch.arange(len(logits), device=logits.device).repeat_interleave(sum(sizes))
        decoded = boxes(image, priors.flatten())  # [B * N, 4]
        decoded = clip_to_images(decoded, image, image_sizes, keep=self.keep)
        decoded = decoded.reshape(*priors.shape, 4)
        return [
            self._suppress(mine.split(sizes), found.split(sizes))
            for mine, found in zip(decoded, scores, strict=True)
        ]

    def _suppress(self, boxes: Sequence[Tensor], scores: Sequence[Tensor]) -> Detections:
        """The proposals of one image from the boxes [n, 4] and scores [n] of each level."""
        levels = []
        for level, (every, objectness) in enumerate(zip(boxes, scores, strict=True)):
            large = wider_than(every, self.min_box_size)  # [n]
            mine, found = every[large], objectness[large]
            keep = self._kept(mine, found)[: self.max_per_image]
            levels.append((mine[keep], found[keep], torch.full_like(keep, level)))
        kept_boxes, kept_scores, labels = (torch.cat(parts) for parts in zip(*levels, strict=True))
        order = kept_scores.argsort(descending=True, stable=True)[: self.max_per_image]
        return Detections(kept_boxes[order], kept_scores[order], labels[order])

    def _kept(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """[D] index of what is not dropped among boxes [n, 4] with scores [n], best first."""
        if self.similarity == "nwd":
            return similarity_nms(boxes, scores, self.nms_iou, nwd_constant=self.nwd_constant)
        return nms(boxes, scores, self.nms_iou)


def _best(logits: Tensor, count: int) -> Tensor:
    """[B, min(count, n)] int64 index of the highest of [B, n], best first, equals by index.

    `topk` is faster than sorting everything, but says nothing about equals; only those that tie
    with the last one are ambiguous.
    """
    if logits.shape[1] > count:
        last = logits.topk(count).values[:, -1:]  # [B, 1]
        above, level = logits > last, logits == last  # [B, n]
        room = count - above.sum(dim=1, keepdim=True)  # [B, 1]
        chosen = above | (level & (level.cumsum(dim=1) <= room))
        candidates = chosen.nonzero()[:, 1].reshape(len(logits), count)  # [B, count]
    else:
        candidates = torch.arange(logits.shape[1], device=logits.device).expand_as(logits)
    order = logits.gather(1, candidates).argsort(dim=1, descending=True, stable=True)
    return candidates.gather(1, order)
