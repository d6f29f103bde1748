"""Gaussian Assignment, GA (Zhang et al. 2024, IEEE TGRS 62, DOI 10.1109/TGRS.2024.3430071)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from motedet.assign.gaussian_kernels import CellGaussians, check_one_map, gaussians_on_cells
from motedet.assign.pairs import conclude, covered_priors, pairs_between, usable_cells
from motedet.geometry import aligned_iof
from motedet.priors import PriorGrid
from motedet.structures import BACKGROUND, IGNORED, Assignment, PackedTargets, Pairs


@dataclass(frozen=True, slots=True)
class GaussianMaps:
    """What a heat-map detector learns from.

    Attributes:
        match: whose box each cell learns, whatever the class.
        heatmap: [B, P, K] float32, the largest Gaussian of the class at the cell; 1 at centres.
        box_weight: [B, P] float32, weight of the box loss; 0 where there is no match.
    """

    match: Assignment
    heatmap: Tensor
    box_weight: Tensor


@dataclass(frozen=True, kw_only=True)
class GaussianAssigner:
    """Cells where an object's small Gaussian is high learn from it; smaller objects win.

    Each object draws an axis-aligned Gaussian at the cell that holds its centre, on one map; so
    each object with its centre in the image has a cell, if no smaller one takes it. Where areas
    tie, the later object wins. The centre cell and the shape do not depend on the place of the
    priors in their cells. The quality is the owner's Gaussian at the cell.

    As published, the threshold is 0.01 in FCOS, and TTFNet on MiT has alpha 0.54 and an exclusive
    threshold.

    Attributes:
        alpha: half sides of the Gaussians in the heat map, in half sides of the object.
        beta: the same of the Gaussians from which the positives and the weights of the boxes come;
            None for `alpha`.
        max_side: sides of objects count as at most this, in pixels ("max_radius" in the code).
        pos_thresh: value of its Gaussian from which a cell is positive.
        inclusive: whether a value equal to `pos_thresh` is positive.
        area: how the area weighs an object's box loss and orders the drawing.
        weighted: whether the Gaussian, summing to 1 over an object's cells, times the area weighs
            the box loss; if not, all weights are 1.
        ignore_iof: share of a prior that an ignore box may cover before the prior is ignored and
            never taken; points are covered where they lie in the box. None turns ignore boxes off,
            as published. In images without objects they never count.
    """

    kind: Literal["gaussian"] = "gaussian"
    alpha: float = 1.0
    beta: float | None = None
    max_side: float = 16.0
    pos_thresh: float = 0.1
    inclusive: bool = True
    area: Literal["log", "sqrt", "none"] = "log"
    weighted: bool = True
    ignore_iof: float | None = None

    def __post_init__(self) -> None:
        """Reject numbers that say nothing."""
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be positive and finite; got {value}.")
        if not self.max_side > 0:
            raise ValueError(f"max_side must be positive; got {self.max_side}.")
        if not 0 < self.pos_thresh <= 1 or (self.pos_thresh == 1 and not self.inclusive):
            raise ValueError(
                "pos_thresh must be in (0, 1], below 1 if it is not inclusive: "
                f"Gaussians are at most 1; got {self.pos_thresh}."
            )
        if self.ignore_iof is not None and not self.ignore_iof > 0:
            raise ValueError(f"ignore_iof must be positive or None; got {self.ignore_iof}.")

    def __call__(self, grid: PriorGrid, targets: PackedTargets) -> Assignment:
        """Assign a batch.

        Args:
            grid: P priors, one in each cell of one level.
            targets: G objects of B images, packed; G may be 0.

        Raises:
            RecipeError: if there are more levels or more priors in a cell.
        """
        check_one_map(grid)
        return self._match(grid, targets, self._covered(grid, targets))[0]

    def maps(self, grid: PriorGrid, targets: PackedTargets, num_classes: int) -> GaussianMaps:
        """Assign a batch, and draw the heat map of each class.

        Cells that take no part stay 0 in all maps.

        Args:
            grid: P priors, one in each cell of one level.
            targets: G objects of B images, packed; G may be 0.
            num_classes: K.

        Raises:
            RecipeError: if there are more levels or more priors in a cell.
        """
        check_one_map(grid)
        covered = self._covered(grid, targets)
        match, total = self._match(grid, targets, covered)
        slots = targets.num_images * grid.num_priors
        heatmap = torch.zeros(slots * num_classes, device=targets.boxes.device)
        gaussians = gaussians_on_cells(grid, targets, scale=self.alpha, max_side=self.max_side)
        for pairs, slot, value in _drawn(grid, targets, gaussians, covered):
            place = slot * num_classes + targets.labels[pairs.gt]  # [E]
            heatmap.scatter_reduce_(0, place, value, "amax")
        weight = self._box_weight(match, self._areas(targets), total)
        return GaussianMaps(match, heatmap.view(*weight.shape, num_classes), weight)

    def _match(
        self, grid: PriorGrid, targets: PackedTargets, covered: Tensor | None
    ) -> tuple[Assignment, Tensor]:
        """Who owns each cell, and [G] the sum of each object's Gaussian over its positive cells."""
        order = self._areas(targets).argsort(descending=True, stable=True)  # [G]
        rank = order.argsort() + 1  # [G], 1 for the object drawn first
        beta = self.alpha if self.beta is None else self.beta
        gaussians = gaussians_on_cells(grid, targets, scale=beta, max_side=self.max_side)
        last = rank.new_zeros(targets.num_images * grid.num_priors)  # rank drawn last, 0 for none
        # In float64 the sum does not depend on the order, which is not fixed on a GPU.
        total = torch.zeros(len(rank), dtype=torch.float64, device=rank.device)
        for pairs, slot, value in _drawn(grid, targets, gaussians, covered):
            positive = (value >= self.pos_thresh) if self.inclusive else (value > self.pos_thresh)
            last.scatter_reduce_(0, slot, rank[pairs.gt].where(positive, 0), "amax")
            total.index_add_(0, pairs.gt, value.double().where(positive, 0))
        gt_index = torch.full_like(last, BACKGROUND)
        if covered is not None:
            gt_index[covered] = IGNORED
        quality = torch.zeros(len(last), device=last.device)
        taken = last.nonzero()[:, 0]  # [T]
        owner = order[last[taken] - 1]  # [T]
        gt_index[taken] = owner
        quality[taken] = gaussians.values(owner, taken % grid.num_priors)
        return conclude(grid, targets, gt_index, quality), total.float()

    def _areas(self, targets: PackedTargets) -> Tensor:
        """[G] areas with the published +1, as they order and weigh the objects."""
        boxes = targets.boxes.float()
        area = (boxes[:, 2:] - boxes[:, :2] + 1).prod(-1)  # [G]
        if self.area == "log":
            return area.log()
        return area.sqrt() if self.area == "sqrt" else area

    def _box_weight(self, match: Assignment, areas: Tensor, total: Tensor) -> Tensor:
        """[B, P]; an object that keeps its cells has its area's weight [G] over all of them."""
        if not self.weighted:
            return match.positive.float()
        weight = torch.zeros_like(match.quality)
        at = match.positive.nonzero(as_tuple=True)
        owner = match.gt_index[at]  # [T]
        weight[at] = match.quality[at] * areas[owner] / total[owner]
        return weight

    def _covered(self, grid: PriorGrid, targets: PackedTargets) -> Tensor | None:
        """[B * P] bool, what ignore boxes take out; None for nothing."""
        if self.ignore_iof is None or len(targets.ignore_boxes) == 0:
            return None
        boxes = targets.ignore_boxes.float()

        def share(pairs: Pairs) -> Tensor:
            prior, box = grid.boxes_at(pairs.prior), boxes[pairs.gt]  # [E, 4] each
            inside = (prior[:, :2] >= box[:, :2]) & (prior[:, 2:] <= box[:, 2:])  # [E, 2]
            return aligned_iof(prior, box).maximum(inside.all(-1).float())

        return covered_priors(grid, targets, share, self.ignore_iof)


def _drawn(
    grid: PriorGrid, targets: PackedTargets, gaussians: CellGaussians, covered: Tensor | None
) -> Iterator[tuple[Pairs, Tensor, Tensor]]:
    """The cells of all Gaussians, E at a time: pairs, places [E] in B * P, and values [E]."""
    cells = usable_cells(grid, targets, targets.image_index)  # [G or 1, 1, 4]
    low, high = gaussians.bounds()  # [G, 2] each
    for pairs in pairs_between(grid, cells, low[:, None], high[:, None]):
        slot = targets.image_index[pairs.gt] * grid.num_priors + pairs.prior  # [E]
        value = gaussians.values(pairs.gt, pairs.prior)  # [E]
        if covered is not None:
            value = value.masked_fill(covered[slot], 0)  # below every threshold
        yield pairs, slot, value
