"""From raw predictions to detections: threshold, best per level, non-maximum suppression.

The two published orders of these steps differ slightly under equal numbers: see `Postprocess.rank`.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.geometry.nms import SoftNMS, class_aware_nms, soft_nms
from motedet.models.dense import HeadOutputs
from motedet.structures import Detections, Size

SIGMOID_SLACK: Final = 1e-3  # on logits; far above the rounding of a float32 sigmoid


@dataclass(frozen=True, slots=True)
class Candidates:
    """Predictions worth decoding, of a whole batch: image by image, level by level.

    Attributes:
        image: [E] int64.
        prior: [E] int64, within the grid.
        label: [E] int64.
        score: [E], what ranks them in the end.
    """

    image: Tensor
    prior: Tensor
    label: Tensor
    score: Tensor


@dataclass(frozen=True, kw_only=True)
class Suppression:
    """From scored boxes to detections: the last step of every detector.

    Attributes:
        score_thresh: class probabilities must be above it, strictly, before the centre-ness.
        nms_iou: a box is dropped above this IoU with a better one of its class.
        max_per_image: at most so many are returned.
        min_box_size: boxes must be wider and higher than this many pixels; negative keeps all.
        keep: pixels per axis of every box that stay in the image, even if it lies outside; 1 in
            TinyDet.
        soft: lower the scores of overlapping boxes instead of dropping the boxes; null drops.
    """

    score_thresh: float = 0.05
    nms_iou: float = 0.5
    max_per_image: int = 100
    min_box_size: float = 0.0
    keep: float = 0.0
    soft: SoftNMS | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 <= self.score_thresh < 1:
            raise ValueError(f"score_thresh must be in [0, 1); got {self.score_thresh}.")
        if not 0 <= self.nms_iou <= 1:
            raise ValueError(f"nms_iou must be in [0, 1]; got {self.nms_iou}.")
        if self.max_per_image < 1:
            raise ValueError(f"max_per_image must be at least 1; got {self.max_per_image}.")
        if self.keep < 0:
            raise ValueError(f"keep must be 0 or more; got {self.keep}.")

    def detections(
        self, found: Candidates, boxes: Tensor, image_sizes: Sequence[Size]
    ) -> list[Detections]:
        """The detections of each image, best first.

        Args:
            found: E candidates, already above the score threshold.
            boxes: [E, 4] xyxy in pixels, theirs.
            image_sizes: (height, width) per image, to which boxes are clipped.
        """
        boxes = clip_to_images(boxes, found.image, image_sizes, keep=self.keep)  # [E, 4]
        large = wider_than(boxes, self.min_box_size)  # [E]
        results = []
        for image in range(len(image_sizes)):
            index = ((found.image == image) & large).nonzero().flatten()
            results.append(self._suppress(boxes[index], found.score[index], found.label[index]))
        return results

    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Detections:
        """The detections of one image among boxes [N, 4] with scores [N] and labels [N]."""
        if self.soft is None:
            keep = class_aware_nms(
                boxes, scores, labels, iou_thresh=self.nms_iou, max_num=self.max_per_image
            )
            return Detections(boxes[keep], scores[keep], labels[keep])
        keep, decayed = soft_nms(
            boxes,
            scores,
            labels,
            rule=self.soft,
            iou_thresh=self.nms_iou,
            max_num=self.max_per_image,
        )
        return Detections(boxes[keep], decayed, labels[keep])


@dataclass(frozen=True, kw_only=True)
class Postprocess(Suppression):
    """What becomes a detection among the dense predictions of a pyramid.

    Attributes:
        pre_nms: at most so many per level go on.
        rank: what `pre_nms` counts. "pairs" (mmdetection 3): (prior, class) pairs above the
            threshold, by class probability. "priors" (mmdetection 2, RFLA): priors, by their best
            class probability times centre-ness, all their classes going on.
    """

    pre_nms: int = 1000
    rank: Literal["pairs", "priors"] = "pairs"

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        if self.pre_nms < 1:
            raise ValueError(f"pre_nms must be at least 1; got {self.pre_nms}.")

    def candidates(self, outputs: HeadOutputs, level_starts: Sequence[int]) -> Candidates:
        """The predictions that are to be decoded.

        Args:
            outputs: P predictions of K classes for B images.
            level_starts: index of the first prior of each level.
        """
        bounds = [*level_starts, outputs.logits.shape[1]]
        if self.rank == "pairs":
            return self._best_pairs(outputs, bounds)
        return self._best_priors(outputs, bounds)

    def _best_pairs(self, outputs: HeadOutputs, bounds: Sequence[int]) -> Candidates:
        """The (prior, class) pairs above the threshold, at most `pre_nms` per level and image."""
        image, prior, label = (outputs.logits > self._floor()).nonzero().unbind(1)
        score = outputs.logits[image, prior, label].sigmoid()  # [E]
        level = torch.bucketize(prior, prior.new_tensor(bounds[1:]), right=True)  # [E]
        group = image * (len(bounds) - 1) + level  # [E], non-decreasing
        keep = _best_of_groups(score, group, score > self.score_thresh, self.pre_nms)
        image, prior, label, score = image[keep], prior[keep], label[keep], score[keep]
        if outputs.ctrness is not None:
            score = score * outputs.ctrness[image, prior].sigmoid()
        return Candidates(image, prior, label, score)

    def _best_priors(self, outputs: HeadOutputs, bounds: Sequence[int]) -> Candidates:
        """All classes above the threshold of the `pre_nms` best priors per level and image."""
        best = outputs.logits.amax(dim=-1).sigmoid()  # [B, P]
        if outputs.ctrness is not None:
            best = best * outputs.ctrness.sigmoid()
        chosen = []
        for start, end in itertools.pairwise(bounds):
            top = best[:, start:end].topk(min(self.pre_nms, end - start)).indices + start
            chosen.append(top)
        priors = torch.cat(chosen, dim=1)  # [B, N]
        kept = outputs.logits.gather(1, priors[..., None].expand(-1, -1, outputs.logits.shape[-1]))
        image, row, label = (kept > self._floor()).nonzero().unbind(1)
        probs = kept[image, row, label].sigmoid()  # [E]
        above = probs > self.score_thresh
        image, row, label, score = image[above], row[above], label[above], probs[above]
        prior = priors[image, row]
        if outputs.ctrness is not None:
            score = score * outputs.ctrness[image, prior].sigmoid()
        return Candidates(image, prior, label, score)

    def _floor(self) -> float:
        """A logit just below the threshold, to look at few probabilities instead of all."""
        if self.score_thresh == 0:
            return -math.inf
        return math.log(self.score_thresh / (1 - self.score_thresh)) - SIGMOID_SLACK


def clip_to_images(
    boxes: Tensor, image: Tensor, image_sizes: Sequence[Size], *, keep: float = 0.0
) -> Tensor:
    """Boxes cut off where their own image ends.

    Args:
        boxes: [E, 4] xyxy in pixels.
        image: [E] int64, the image of each.
        image_sizes: (height, width) per image.
        keep: pixels per axis of every box that stay in its image, even if it lies outside.

    Returns:
        [E, 4].
    """
    rows = [(w - keep, h - keep, w, h) for h, w in image_sizes]
    limits = boxes.new_tensor(rows).reshape(-1, 4)  # [B, 4]
    first = boxes.new_tensor((0.0, 0.0, keep, keep))  # [4]
    return boxes.maximum(first).minimum(limits[image])


def wider_than(boxes: Tensor, size: float) -> Tensor:
    """[E] bool: the boxes [E, 4] whose both sides are above `size` pixels."""
    return ((boxes[:, 2:] - boxes[:, :2]) > size).all(dim=-1)


def _best_of_groups(score: Tensor, group: Tensor, allowed: Tensor, count: int) -> Tensor:
    """Index of the `count` highest allowed scores of each group, group by group, best first.

    Args:
        score: [E].
        group: [E] int64, non-decreasing.
        allowed: [E] bool.
        count: per group; equal scores: lower index first.
    """
    index = allowed.nonzero().flatten()
    order = score[index].argsort(descending=True, stable=True)
    index = index[order]
    index = index[group[index].argsort(stable=True)]  # [E'], by group, then by score
    sorted_group = group[index]
    first = torch.searchsorted(sorted_group, sorted_group)  # [E'], where its group starts
    rank = torch.arange(len(index), device=index.device) - first
    return index[rank < count]
