"""Assignment by the largest IoU (Ren et al. 2015, 1506.01497; RetinaNet, Lin et al. 2017)."""

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.assign.pairs import (
    conclude,
    covered_priors,
    nearest_block,
    pairs_between,
    usable_cells,
    usable_priors,
)
from motedet.assign.reach import similarity_reach
from motedet.geometry import aligned_iof, aligned_iou, aligned_similarity
from motedet.geometry.bits import LOW_BITS, bits_float, float_bits
from motedet.priors import PriorGrid
from motedet.structures import BACKGROUND, IGNORED, Assignment, PackedTargets, Pairs

TAKEN: Final = 1 << 62  # above every packed IoU, which is at most 1


@dataclass(frozen=True, kw_only=True)
class MaxIoU:
    """A prior learns from the object it overlaps most, if enough; each object gets its best priors.

    With `similarity` "nwd" (Wang et al. 2021, 2110.13389) every IoU below is the NWD instead, but
    for that with ignore boxes.

    Attributes:
        pos_iou: IoU from which a prior is positive.
        neg_iou: IoU below which it is background; or a band (low, high), low included. Priors that
            are neither are ignored.
        min_pos_iou: IoU from which an object takes its best priors, whatever they overlap better
            (low-quality matches). Of several such objects the last one wins.
        low_quality: whether objects take their best priors at all.
        all_ties: whether an object takes all priors that share its largest IoU, or the first only.
        ignore_iof: share of a prior that an ignore box may cover before the prior is ignored; None
            turns ignore boxes off. In images without objects they never count, as published.
        ignore_wrt_candidates: whether the share is of the prior's area, or of the ignore box's.
        zero_overlap_matches: as published, an object that overlaps no prior "ties" with every prior
            at IoU 0 if `min_pos_iou` is 0 and takes the whole image. False needs an IoU above 0.
        similarity: how an object and a prior are compared.
        nwd_constant: C of NWD in pixels.
    """

    kind: Literal["max_iou"] = "max_iou"
    pos_iou: float = 0.5
    neg_iou: float | tuple[float, float] = 0.4
    min_pos_iou: float = 0.0
    low_quality: bool = True
    all_ties: bool = True
    ignore_iof: float | None = None
    ignore_wrt_candidates: bool = True
    zero_overlap_matches: bool = False
    similarity: Literal["iou", "nwd"] = "iou"
    nwd_constant: float = 12.8

    def __post_init__(self) -> None:
        """Reject thresholds that say nothing."""
        if not 0 < self.pos_iou <= 1:
            raise ValueError(f"pos_iou must be in (0, 1]; got {self.pos_iou}.")
        low, high = self._negative_band
        if not 0 <= low <= high <= 1:
            raise ValueError(f"neg_iou must be in [0, 1], in rising order; got {self.neg_iou}.")
        if self.min_pos_iou < 0:
            raise ValueError(f"min_pos_iou must be at least 0; got {self.min_pos_iou}.")
        if self.ignore_iof is not None and self.ignore_iof <= 0:
            raise ValueError(f"ignore_iof must be positive or None; got {self.ignore_iof}.")
        if self.nwd_constant <= 0:
            raise ValueError(f"nwd_constant must be positive; got {self.nwd_constant}.")

    def __call__(self, grid: PriorGrid, targets: PackedTargets) -> Assignment:
        """Assign a batch.

        Args:
            grid: P priors.
            targets: G objects of B images, packed; G may be 0.
        """
        covered = None
        if self.ignore_iof is not None and len(targets.ignore_boxes) > 0:
            covered = self._covered(grid, targets, self.ignore_iof)  # [B * P]
        cells = usable_cells(grid, targets, targets.image_index)
        wanted = self._wanted(grid, targets, cells, covered)  # [G]
        best = self._compete(grid, targets, cells, covered, wanted)  # [B * P]
        gt_index = torch.full_like(best, BACKGROUND)
        quality = targets.boxes.new_zeros(len(best), dtype=torch.float32)
        low, high = self._negative_band
        if low > 0:  # no overlap is not enough to be background where there are objects
            occupied = targets.image_index.bincount(minlength=targets.num_images) > 0  # [B]
            gt_index[occupied.repeat_interleave(grid.num_priors)] = IGNORED
        if covered is not None:
            gt_index[covered] = IGNORED
        slot = best.nonzero()[:, 0]  # [T]
        key = best[slot]
        taken = key >= TAKEN  # by an object, as one of its best priors
        iou = torch.where(taken, bits_float(key), bits_float(key >> 32))
        gt = torch.where(taken, (key - TAKEN) >> 32, LOW_BITS - (key & LOW_BITS))
        background = (iou >= low) & (iou < high)
        other = torch.full_like(gt, IGNORED).masked_fill(background, BACKGROUND)
        positive = taken | (iou >= self.pos_iou)
        gt_index[slot] = gt.where(positive, other)
        quality[slot] = iou.where(positive, 0)
        return conclude(grid, targets, gt_index, quality)

    @property
    def _negative_band(self) -> tuple[float, float]:
        return self.neg_iou if isinstance(self.neg_iou, tuple) else (0.0, self.neg_iou)

    def _covered(self, grid: PriorGrid, targets: PackedTargets, threshold: float) -> Tensor:
        """[B * P] bool, what ignore boxes take out."""
        boxes = targets.ignore_boxes.float()

        def share(pairs: Pairs) -> Tensor:
            prior, box = grid.boxes_at(pairs.prior), boxes[pairs.gt]
            first, second = (prior, box) if self.ignore_wrt_candidates else (box, prior)
            return aligned_iof(first, second)

        return covered_priors(grid, targets, share, threshold)

    def _compete(
        self,
        grid: PriorGrid,
        targets: PackedTargets,
        cells: Tensor,
        covered: Tensor | None,
        wanted: Tensor,
    ) -> Tensor:
        """[B * P] who gets each prior, packed so that the largest number wins; 0 for nobody.

        Either an IoU and the object with it, lower objects being larger; or `TAKEN` and an object
        that takes one of its best priors, later objects being larger, and their IoU.
        """
        boxes, image = targets.boxes.float(), targets.image_index
        best = image.new_zeros(targets.num_images * grid.num_priors)
        top = boxes.new_zeros(len(boxes))  # [G] the largest IoU of each object
        lattices, priors = grid.lattices(boxes.device), grid.boxes(boxes.device)
        reach = similarity_reach(
            self.similarity,
            boxes[:, None, 2:] - boxes[:, None, :2],
            lattices.sides,
            wanted,
            nwd_constant=self.nwd_constant,
        )
        center = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2 - lattices.centers  # [G, M, 2]
        for pairs in pairs_between(grid, cells, center - reach, center + reach):
            slot = image[pairs.gt] * grid.num_priors + pairs.prior  # [E]
            iou = self._likeness(boxes[pairs.gt], priors[pairs.prior])  # [E]
            if covered is not None:
                iou = iou.masked_fill(covered[slot], 0)
            bits = float_bits(iou)
            key = ((bits << 32) | (LOW_BITS - pairs.gt)).where(iou > 0, 0)
            best.scatter_reduce_(0, slot, key, "amax")
            if self.low_quality:
                top.scatter_reduce_(0, pairs.gt, iou, "amax")
                hit = (iou == top[pairs.gt]) & (iou > 0) & (iou >= self.min_pos_iou)  # [E]
                hit = hit if self.all_ties else _first_hits(hit, pairs, len(boxes))
                key = (TAKEN + (pairs.gt << 32) + bits).where(hit, 0)
                best.scatter_reduce_(0, slot, key, "amax")
        if self.low_quality and self.zero_overlap_matches and self.min_pos_iou == 0:
            best = best.maximum(self._whole_image(grid, targets, top == 0, covered))
        return best

    def _likeness(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """[...] similarity of objects [..., 4] and priors [..., 4]."""
        if self.similarity == "iou":
            return aligned_iou(boxes, priors)
        return aligned_similarity("nwd", boxes, priors, nwd_constant=self.nwd_constant)

    def _wanted(
        self, grid: PriorGrid, targets: PackedTargets, cells: Tensor, covered: Tensor | None
    ) -> Tensor:
        """[G] IoU from which pairs matter: the lowest threshold, or less if the best is less.

        The best prior of a lattice is, up to rounding, the one nearest to the object.
        """
        boxes = targets.boxes.float()
        low, high = self._negative_band
        lowest = min(self.pos_iou, high, low if low > 0 else 1.0)
        if not self.low_quality or self.min_pos_iou >= lowest or grid.num_priors == 0:
            return boxes.new_full((len(boxes),), lowest)
        center = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2  # [G, 1, 2]
        lattices = grid.lattices(boxes.device)
        nearest = nearest_block(lattices, cells, center, 1)[0].flatten(1)  # [G, M]
        iou = self._likeness(boxes[:, None], grid.boxes(boxes.device)[nearest])  # [G, M]
        usable = nearest >= 0
        if covered is not None:
            slot = targets.image_index[:, None] * grid.num_priors + nearest.clamp(min=0)
            usable = usable & ~covered[slot]
        return iou.where(usable, 0).amax(1).clamp(max=lowest)

    def _whole_image(
        self, grid: PriorGrid, targets: PackedTargets, lost: Tensor, covered: Tensor | None
    ) -> Tensor:
        """[B * P] the last object [G] without overlap in each image, packed, 0 if there is none."""
        shape = (targets.num_images, grid.num_priors)
        free = usable_priors(grid, targets)  # [B, P]
        if free is None:
            free = torch.ones(shape, dtype=torch.bool, device=lost.device)
        if covered is not None:
            free = free & ~covered.reshape(shape)
        if not self.all_ties:
            free = free & (free.cumsum(1) == 1)
        rows = torch.arange(len(lost), device=lost.device).where(lost, -1)  # [G]
        last = rows.new_full((targets.num_images,), -1)
        last.scatter_reduce_(0, targets.image_index, rows, "amax")  # [B]
        return (TAKEN + (last << 32))[:, None].where(free & (last >= 0)[:, None], 0).flatten()


def _first_hits(hit: Tensor, pairs: Pairs, num_objects: int) -> Tensor:
    """[E] bool, the hits [E] with the lowest prior of each object."""
    far = torch.iinfo(torch.int64).max
    first = pairs.gt.new_full((num_objects,), far)
    first.scatter_reduce_(0, pairs.gt, pairs.prior.where(hit, far), "amin")
    return hit & (pairs.prior == first[pairs.gt])
