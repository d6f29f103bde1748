"""Ranking-based assignment with NWD (Xu et al. 2022, ISPRS, arXiv 2206.13996)."""

from dataclasses import dataclass
from math import inf, isqrt
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.assign.pairs import (
    conclude,
    nearest_block,
    pairs_between,
    priors_under_ignore_boxes,
    usable_cells,
)
from motedet.assign.reach import similarity_reach
from motedet.geometry import wasserstein
from motedet.geometry.bits import LOW_BITS, bits_float, float_bits
from motedet.priors import PriorGrid
from motedet.structures import BACKGROUND, IGNORED, Assignment, PackedTargets, Pairs

NOBODY: Final = torch.iinfo(torch.int64).max


@dataclass(frozen=True, kw_only=True)
class NWDRKA:
    """Each object takes its k nearest priors by NWD; all others are background.

    No threshold decides, so that objects of any size get as many priors (RKA, RanKing-based
    Assigning). With boxes as Gaussians of the centre and half of the sides,

        W = |difference of centres|^2 + |difference of (w, h)|^2 / 4,  NWD = exp(-sqrt(W) / C).

    Priors are ranked by W, whose order is that of NWD for every C, without the rounding of the
    exponential, which makes all far priors equal. So C touches no label, only the quality.

    What the paper leaves open is settled so: an object takes exactly k priors, of equal ones those
    with the lowest index; all of them where fewer than k take part; a prior that several objects
    take goes to the one with the highest NWD, of equal ones to the first; an object that loses a
    prior in this way gets no other for it, so that one of two identical objects gets none.

    Attributes:
        topk: k; the released configuration of Faster R-CNN has 2.
        nwd_constant: C in pixels, about the mean object size; the default is AI-TOD's.
        ignore_iof: share of a prior that an ignore box may cover before the prior is ignored and
            never taken; None turns ignore boxes off. In images without objects they never count.
    """

    kind: Literal["nwd_rka"] = "nwd_rka"
    topk: int = 2
    nwd_constant: float = 12.8
    ignore_iof: float | None = None

    def __post_init__(self) -> None:
        """Reject empty choices."""
        if self.topk < 1:
            raise ValueError(f"topk must be at least 1; got {self.topk}.")
        if self.nwd_constant <= 0:
            raise ValueError(f"nwd_constant must be positive; got {self.nwd_constant}.")
        if self.ignore_iof is not None and self.ignore_iof <= 0:
            raise ValueError(f"ignore_iof must be positive or None; got {self.ignore_iof}.")

    def __call__(self, grid: PriorGrid, targets: PackedTargets) -> Assignment:
        """Assign a batch.

        Args:
            grid: P priors.
            targets: G objects of B images, packed; G may be 0.
        """
        covered = priors_under_ignore_boxes(grid, targets, self.ignore_iof)  # [B * P]
        best = targets.image_index.new_full((targets.num_images * grid.num_priors,), NOBODY)
        if len(targets.boxes) > 0 and grid.num_priors > 0:
            self._take_(best, grid, targets, covered)
        gt_index = torch.full_like(best, BACKGROUND)
        if covered is not None:
            gt_index[covered] = IGNORED
        quality = targets.boxes.new_zeros(len(best), dtype=torch.float32)
        slot = (best != NOBODY).nonzero()[:, 0]  # [T]
        gt_index[slot] = best[slot] & LOW_BITS
        nwd = torch.exp(-bits_float(best[slot] >> 32).sqrt() / self.nwd_constant)  # [T]
        quality[slot] = nwd.clamp(min=torch.finfo(nwd.dtype).tiny)  # a match has some quality
        return conclude(grid, targets, gt_index, quality)

    def _take_(
        self, best: Tensor, grid: PriorGrid, targets: PackedTargets, covered: Tensor | None
    ) -> None:
        """Enter in `best` [B * P] who gets each prior: W and the object, the smallest number."""
        boxes, image = targets.boxes.float(), targets.image_index
        lattices, priors = grid.lattices(boxes.device), grid.boxes(boxes.device)
        cells = usable_cells(grid, targets, image)
        enough = self._enough(grid, targets, cells, covered)  # [G]
        reach = similarity_reach(
            "wd",
            boxes[:, None, 2:] - boxes[:, None, :2],
            lattices.sides,
            1 / (1 + enough),
            nwd_constant=self.nwd_constant,
        )
        center = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2 - lattices.centers  # [G, M, 2]
        for pairs in pairs_between(grid, cells, center - reach, center + reach):
            slot = image[pairs.gt] * grid.num_priors + pairs.prior  # [E]
            far = wasserstein(boxes[pairs.gt], priors[pairs.prior])  # [E]
            likely = far <= enough[pairs.gt]
            if covered is not None:
                likely &= ~covered[slot]
            far, slot = far[likely], slot[likely]
            found = Pairs(pairs.prior[likely], pairs.gt[likely])
            key = (float_bits(far) << 32) | found.gt
            key = key.where(_nearest(found, far, k=self.topk, num_objects=len(boxes)), NOBODY)
            best.scatter_reduce_(0, slot, key, "amin")

    def _enough(
        self, grid: PriorGrid, targets: PackedTargets, cells: Tensor, covered: Tensor | None
    ) -> Tensor:
        """[G] the k-th smallest W or more, from the priors around each object's centre."""
        boxes = targets.boxes.float()
        center = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2  # [G, 1, 2]
        lattices = grid.lattices(boxes.device)
        size = isqrt(self.topk - 1) + 1
        prior = nearest_block(lattices, cells, center, size)[0].flatten(1)  # [G, S]
        far = wasserstein(boxes[:, None], grid.boxes(boxes.device)[prior])  # [G, S]
        usable = prior >= 0
        if covered is not None:
            slot = targets.image_index[:, None] * grid.num_priors + prior.clamp(min=0)
            usable = usable & ~covered[slot]
        return far.where(usable, inf).kthvalue(self.topk, dim=1).values


def _nearest(pairs: Pairs, far: Tensor, *, k: int, num_objects: int) -> Tensor:
    """[E] bool, the k pairs of each object with the smallest `far` [E], then the lowest prior."""
    order = pairs.prior.argsort(stable=True)
    order = order[far[order].argsort(stable=True)]
    order = order[pairs.gt[order].argsort(stable=True)]  # by object, then rising, then by prior
    counts = pairs.gt.bincount(minlength=num_objects)  # [G]
    start = counts.cumsum(0) - counts  # [G]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return rank - start[pairs.gt] < k
