"""Assignment by similarity distance, SimD (Shi et al. 2024, IROS, arXiv 2407.02394)."""

from collections.abc import Iterable
from dataclasses import dataclass
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
from motedet.assign.reach import similarity_distance_reach
from motedet.geometry import similarity_distance
from motedet.geometry.bits import LOW_BITS, bits_float, float_bits
from motedet.priors import PriorGrid
from motedet.structures import BACKGROUND, IGNORED, Assignment, PackedTargets

TAKEN: Final = 1 << 62  # above every packed SimD, which is at most 1
EPS: Final = 1e-6  # what SimD adds to a side


@dataclass(frozen=True, kw_only=True)
class SimD:
    """The rule of `MaxIoU` with the similarity distance in the place of the IoU (MaxSimDAssigner).

    A prior learns from the object it is most like, if enough, of equal ones from the first; and
    each object takes all priors that share its largest SimD, of several such objects the last one.
    SimD weighs distances by m and n, which belong to the training set, its scale and the priors:
    `fit_simd` computes them. They are means over all priors of an image, most of them far away, so
    that images of 800 pixels make them 5 to 12 and only priors of nearly the object's shape are
    like it: an object whose most similar prior is less than `min_pos_simd` gets none. At 0 every
    object gets some.

    The defaults are the thresholds of the released RPN. The released code has one m and n, 6.13 and
    4.59, whatever the data: they fit its VisDrone configuration (images of 1502 x 981 pixels).

    Attributes:
        m: mean over objects and priors of |x - x'| / (w + w') (equation 4).
        n: the same of y and the heights (equation 5).
        pos_simd: SimD from which a prior is positive.
        neg_simd: SimD below which it is background; priors that are neither are ignored.
        min_pos_simd: SimD from which an object takes its most similar priors, whatever they are
            more like. At 0 it still has to be above 0 in float32.
        ignore_iof: share of a prior that an ignore box may cover before the prior is ignored and
            never taken; None turns ignore boxes off. In images without objects they never count.
    """

    kind: Literal["simd"] = "simd"
    m: float
    n: float
    pos_simd: float = 0.7
    neg_simd: float = 0.3
    min_pos_simd: float = 0.3
    ignore_iof: float | None = None

    def __post_init__(self) -> None:
        """Reject numbers that say nothing."""
        for name in ("m", "n"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive and finite; got {getattr(self, name)}.")
        if not 0 < self.neg_simd <= self.pos_simd <= 1:
            raise ValueError(
                "neg_simd and pos_simd must be in (0, 1], in rising order; "
                f"got {self.neg_simd} and {self.pos_simd}."
            )
        if self.min_pos_simd < 0:
            raise ValueError(f"min_pos_simd must be at least 0; got {self.min_pos_simd}.")
        if self.ignore_iof is not None and self.ignore_iof <= 0:
            raise ValueError(f"ignore_iof must be positive or None; got {self.ignore_iof}.")

    def __call__(self, grid: PriorGrid, targets: PackedTargets) -> Assignment:
        """Assign a batch.

        Args:
            grid: P priors.
            targets: G objects of B images, packed; G may be 0.
        """
        covered = priors_under_ignore_boxes(grid, targets, self.ignore_iof)  # [B * P]
        best = self._compete(grid, targets, covered)  # [B * P]
        gt_index = torch.full_like(best, BACKGROUND)
        if covered is not None:
            gt_index[covered] = IGNORED
        slot = best.nonzero()[:, 0]  # [T]
        key = best[slot]
        taken = key >= TAKEN  # by an object, as one of its most similar priors
        simd = torch.where(taken, bits_float(key), bits_float(key >> 32))
        gt = torch.where(taken, (key - TAKEN) >> 32, LOW_BITS - (key & LOW_BITS))
        positive = taken | (simd >= self.pos_simd)
        other = torch.full_like(gt, IGNORED).masked_fill(simd < self.neg_simd, BACKGROUND)
        gt_index[slot] = gt.where(positive, other)
        quality = targets.boxes.new_zeros(len(best), dtype=torch.float32)
        quality[slot] = simd.where(positive, 0)
        return conclude(grid, targets, gt_index, quality)

    def _compete(self, grid: PriorGrid, targets: PackedTargets, covered: Tensor | None) -> Tensor:
        """[B * P] who gets each prior, packed so that the largest number wins; 0 for nobody.

        Either a SimD and the object with it, lower objects being larger; or `TAKEN` and an object
        that takes one of its most similar priors, later objects being larger, and their SimD.
        """
        boxes, image = targets.boxes.float(), targets.image_index
        best = image.new_zeros(targets.num_images * grid.num_priors)
        top = boxes.new_zeros(len(boxes))  # [G] the largest SimD of each object
        lattices, priors = grid.lattices(boxes.device), grid.boxes(boxes.device)
        cells = usable_cells(grid, targets, image)
        reach = similarity_distance_reach(
            boxes[:, None, 2:] - boxes[:, None, :2],
            lattices.sides,
            self._wanted(grid, targets, cells, covered),
            m=self.m,
            n=self.n,
        )
        center = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2 - lattices.centers  # [G, M, 2]
        for pairs in pairs_between(grid, cells, center - reach, center + reach):
            slot = image[pairs.gt] * grid.num_priors + pairs.prior  # [E]
            simd = similarity_distance(boxes[pairs.gt], priors[pairs.prior], m=self.m, n=self.n)
            if covered is not None:
                simd = simd.masked_fill(covered[slot], 0)
            bits = float_bits(simd)
            key = ((bits << 32) | (LOW_BITS - pairs.gt)).where(simd > 0, 0)
            best.scatter_reduce_(0, slot, key, "amax")
            top.scatter_reduce_(0, pairs.gt, simd, "amax")
            hit = (simd == top[pairs.gt]) & (simd > 0) & (simd >= self.min_pos_simd)  # [E]
            key = (TAKEN + (pairs.gt << 32) + bits).where(hit, 0)
            best.scatter_reduce_(0, slot, key, "amax")
        return best

    def _wanted(
        self, grid: PriorGrid, targets: PackedTargets, cells: Tensor, covered: Tensor | None
    ) -> Tensor:
        """[G] SimD from which pairs matter: the lowest threshold, or less if the best is less.

        On a lattice all shapes are the same, so that its best prior is the nearest one.
        """
        boxes = targets.boxes.float()
        if self.min_pos_simd >= self.neg_simd or grid.num_priors == 0:
            return boxes.new_full((len(boxes),), self.neg_simd)
        center = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2  # [G, 1, 2]
        lattices, priors = grid.lattices(boxes.device), grid.boxes(boxes.device)
        nearest = nearest_block(lattices, cells, center, 1)[0].flatten(1)  # [G, M]
        simd = similarity_distance(boxes[:, None], priors[nearest], m=self.m, n=self.n)  # [G, M]
        usable = nearest >= 0
        if covered is not None:
            slot = targets.image_index[:, None] * grid.num_priors + nearest.clamp(min=0)
            usable = usable & ~covered[slot]
        return simd.where(usable, 0).amax(1).clamp(max=self.neg_simd)


def fit_simd(batches: Iterable[tuple[PriorGrid, PackedTargets]]) -> tuple[float, float]:
    """The m and n of a training set: means over every object with every prior of its image.

    Exact, and linear in the objects: in a lattice all sums of sides are the same, and the distances
    from its columns (or rows) are two arithmetic series, one on each side of the object.

    Args:
        batches: the priors and the objects of one or more images, scaled as in training. Priors
            that take no part by the rules of the targets do not count.

    Returns:
        m and n (Shi et al. 2024, equations 4 and 5).

    Raises:
        ValueError: if there are no objects or no priors.
    """
    total, count = torch.zeros(2, dtype=torch.float64), 0
    for grid, targets in batches:
        boxes = targets.boxes.double()
        lattices = grid.lattices(boxes.device)
        cells = usable_cells(grid, targets, targets.image_index)  # [G or 1, M, 4]
        extent = (cells[..., 2:] - cells[..., :2]).clamp(min=0)  # [G or 1, M, 2]
        center = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2  # [G, 1, 2]
        stride = lattices.stride[:, None]  # [M, 1]
        at = (center - lattices.centers) / stride - cells[..., :2]  # [G, M, 2] from the first cell
        sides = boxes[:, None, 2:] - boxes[:, None, :2] + lattices.sides + 2 * EPS  # [G, M, 2]
        distance = stride * _sum_of_distances(at, extent)  # [G, M, 2] to all columns, to all rows
        total += (distance / sides * extent.flip(-1)).sum((0, 1)).cpu()
        count += int(extent.prod(-1).expand(len(boxes), -1).sum())
    if count == 0:
        raise ValueError("m and n need objects and priors; got none.")
    m, n = (total / count).tolist()
    return m, n


def _sum_of_distances(at: Tensor, count: Tensor) -> Tensor:
    """[...] sum of |at - i| over the integers i from 0 to count - 1."""
    below = (at.floor() + 1).clamp(min=0).minimum(count)  # [...] how many are at most `at`
    left = below * at - below * (below - 1) / 2
    right = (count * (count - 1) - below * (below - 1)) / 2 - (count - below) * at
    return left + right
