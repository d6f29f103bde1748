"""FCOS: a point learns from the smallest object around it (Tian et al. 2019, arXiv 1904.01355)."""

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.assign.pairs import conclude, pairs_between, usable_cells
from motedet.geometry import box_area, encode_ltrb
from motedet.geometry.bits import LOW_BITS, float_bits
from motedet.priors import PriorGrid
from motedet.structures import BACKGROUND, Assignment, PackedTargets, Pairs

INFINITE_AREA: Final = 1e8  # as published: a larger object is never matched
MAX_ROW: Final = (1 << 31) - 1


@dataclass(frozen=True, kw_only=True)
class FCOSAssigner:
    """Points inside an object learn from it, on the level that suits its size.

    Where objects overlap the one with the smallest area wins, among equals the first. Ignore boxes
    play no part, as published. The quality is 1 over the area of the object.

    Attributes:
        regress_ranges: per level the smallest and the largest distance to the farthest side, both
            included, in pixels.
        center_radius: only points this many strides around an object's centre, in x and in y, count
            as inside; None for the whole object.
    """

    kind: Literal["fcos"] = "fcos"
    regress_ranges: tuple[tuple[float, float], ...] = (
        (-1.0, 64.0),
        (64.0, 128.0),
        (128.0, 256.0),
        (256.0, 512.0),
        (512.0, 1e8),
    )
    center_radius: float | None = None

    def __post_init__(self) -> None:
        """Reject empty ranges."""
        if not self.regress_ranges or any(low > high for low, high in self.regress_ranges):
            raise ValueError(
                f"regress_ranges must be (low, high) pairs; got {self.regress_ranges}."
            )
        if self.center_radius is not None and self.center_radius <= 0:
            raise ValueError(f"center_radius must be positive or None; got {self.center_radius}.")

    def __call__(self, grid: PriorGrid, targets: PackedTargets) -> Assignment:
        """Assign a batch.

        Args:
            grid: P priors, of which only the points and the strides matter.
            targets: G objects of B images, packed; G may be 0.

        Raises:
            ValueError: if there are more or fewer levels than ranges.
        """
        if len(grid.levels) != len(self.regress_ranges):
            raise ValueError(
                f"{len(self.regress_ranges)} regress_ranges do not fit {len(grid.levels)} levels."
            )
        boxes = targets.boxes.float()
        slots = targets.num_images * grid.num_priors
        best = torch.zeros(slots, dtype=torch.int64, device=boxes.device)  # see `key`
        smallness = LOW_BITS - float_bits(box_area(boxes).clamp(min=0))  # [G]
        low, high = self._extent(grid, boxes)
        cells = usable_cells(grid, targets, targets.image_index)
        for pairs in pairs_between(grid, cells, low, high):
            key = (smallness[pairs.gt] << 31) | (MAX_ROW - pairs.gt)  # [E], 0 is nothing
            key = key.where(self._fits(grid, boxes, pairs), 0)
            slot = targets.image_index[pairs.gt] * grid.num_priors + pairs.prior  # [E]
            best.scatter_reduce_(0, slot, key, "amax")
        gt_index, quality = torch.full_like(best, BACKGROUND), boxes.new_zeros(slots)
        taken = best.nonzero()[:, 0]  # [T]
        gt_index[taken] = MAX_ROW - (best[taken] & MAX_ROW)
        quality[taken] = 1 / box_area(boxes)[gt_index[taken]]
        return conclude(grid, targets, gt_index, quality)

    def _extent(self, grid: PriorGrid, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """[G, M, 2] twice: where points may be, from the point of cell (0, 0), in pixels."""
        lattices = grid.lattices(boxes.device)
        top_left, bottom_right = boxes[:, None, :2], boxes[:, None, 2:]  # [G, 1, 2]
        shortest, farthest = self._ranges(grid, boxes.device)  # [M] each
        low = torch.maximum(top_left, bottom_right - farthest[:, None])  # [G, M, 2]
        high = torch.minimum(bottom_right, top_left + farthest[:, None])
        if self.center_radius is not None:
            radius = self.center_radius * lattices.stride[:, None]  # [M, 1]
            center = (top_left + bottom_right) / 2
            low, high = torch.maximum(low, center - radius), torch.minimum(high, center + radius)
        # From inside of a box no side is farther away than its longer side is long.
        too_small = (bottom_right - top_left).amax(-1) + 1 < shortest  # [G, M]
        high = high.masked_fill(too_small[..., None], -torch.inf)
        return low - lattices.points, high - lattices.points

    def _ranges(self, grid: PriorGrid, device: torch.device) -> tuple[Tensor, Tensor]:
        """[M] and [M], the regress range of each lattice."""
        ranges = torch.tensor(self.regress_ranges, dtype=torch.float32, device=device)  # [L, 2]
        counts = torch.tensor([len(level.base_boxes) for level in grid.levels], device=device)
        low, high = ranges.repeat_interleave(counts, dim=0).unbind(1)
        return low, high

    def _fits(self, grid: PriorGrid, boxes: Tensor, pairs: Pairs) -> Tensor:
        """[E] bool, whether the point is inside and the object of the level's size."""
        box, point = boxes[pairs.gt], grid.points(boxes.device)[pairs.prior]  # [E, 4], [E, 2]
        ltrb = encode_ltrb(point, box)  # [E, 4]
        level = torch.bucketize(
            pairs.prior, torch.tensor(grid.level_starts, device=box.device), right=True
        )
        ranges = torch.tensor(self.regress_ranges, dtype=torch.float32, device=box.device)
        shortest, farthest = ranges[level - 1].unbind(1)  # [E] each
        reach = ltrb.amax(-1)  # [E]
        inside = ltrb
        if self.center_radius is not None:
            radius = (grid.strides(box.device)[pairs.prior] * self.center_radius)[:, None]  # [E, 1]
            center = (box[:, :2] + box[:, 2:]) / 2
            low = torch.maximum(center - radius, box[:, :2])  # [E, 2]
            high = torch.minimum(center + radius, box[:, 2:])
            inside = torch.cat((point - low, high - point), dim=1)  # [E, 4]
        return (
            (inside.amin(-1) > 0)
            & (reach >= shortest)
            & (reach <= farthest)
            & (box_area(box) < INFINITE_AREA)
        )
