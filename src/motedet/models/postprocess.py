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

from motedet.geometry.nms import class_aware_nms
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
class Postprocess:
    """What becomes a detection.

    Attributes:
        score_thresh: class probabilities must be above it, strictly, before the centre-ness.
        nms_iou: a box is dropped above this IoU with a better one of its class.
        pre_nms: at most so many per level go on.
        max_per_image: at most so many are returned.
        rank: what `pre_nms` counts. "pairs" (mmdetection 3): (prior, class) pairs above the
            threshold, by class probability. "priors" (mmdetection 2, RFLA): priors, by their best
            class probability times centre-ness, all their classes going on.
        min_box_size: boxes must be wider and higher than this many pixels; negative keeps all.
    """

    score_thresh: float = 0.05
    nms_iou: float = 0.5
    pre_nms: int = 1000
    max_per_image: int = 100
    rank: Literal["pairs", "priors"] = "pairs"
    min_box_size: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 <= self.score_thresh < 1:
            raise ValueError(f"score_thresh must be in [0, 1); got {self.score_thresh}.")
        if not 0 <= self.nms_iou <= 1:
            raise ValueError(f"nms_iou must be in [0, 1]; got {self.nms_iou}.")
        if min(self.pre_nms, self.max_per_image) < 1:
            raise ValueError(
                "pre_nms and max_per_image must be at least 1; "
                f"got {self.pre_nms}, {self.max_per_image}."
            )

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

    def detections(
        self, found: Candidates, boxes: Tensor, image_sizes: Sequence[Size]
    ) -> list[Detections]:
        """The detections of each image, best first.

        Args:
            found: E candidates.
            boxes: [E, 4] xyxy in pixels, theirs.
            image_sizes: (height, width) per image, to which boxes are clipped.
        """
        limits = boxes.new_tensor([(w, h, w, h) for h, w in image_sizes])  # [B, 4]
        boxes = boxes.clamp(min=0).minimum(limits[found.image])  # [E, 4]
        large = ((boxes[:, 2:] - boxes[:, :2]) > self.min_box_size).all(dim=-1)  # [E]
        results = []
        for image in range(len(image_sizes)):
            index = ((found.image == image) & large).nonzero().flatten()
            mine, scores, labels = boxes[index], found.score[index], found.label[index]
            keep = class_aware_nms(
                mine, scores, labels, iou_thresh=self.nms_iou, max_num=self.max_per_image
            )
            results.append(Detections(mine[keep], scores[keep], labels[keep]))
        return results

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
