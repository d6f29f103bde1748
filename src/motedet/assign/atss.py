"""ATSS: a threshold for each object from its own candidates (Zhang et al. 2020, 1912.02424)."""

import math
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.assign.pairs import (
    MARGIN,
    MAX_PAIRS,
    conclude,
    nearest_block,
    priors_under_ignore_boxes,
    usable_cells,
)
from motedet.geometry import aligned_iou
from motedet.geometry.bits import LOW_BITS, bits_float, float_bits
from motedet.priors import Lattices, PriorGrid
from motedet.structures import BACKGROUND, IGNORED, Assignment, PackedTargets

COVERED_DISTANCE: Final = 1e8  # as published: covered priors are farther away than any other
MIN_INSIDE: Final = 0.01  # as published: pixels by which a centre must be inside of the object
NOTHING: Final = torch.iinfo(torch.int64).max


@dataclass(frozen=True, kw_only=True)
class ATSS:
    """Among the nearest priors of each level, those with outstanding IoU learn from the object.

    The threshold is mean plus standard deviation of the candidates' IoU; the centre of the prior
    must be inside of the object. A prior wanted by several objects goes to the largest IoU.

    Attributes:
        topk: candidates per level and object.
        ignore_iof: share of a prior that an ignore box may cover before the prior is ignored; None
            turns ignore boxes off. In images without objects they never count, as published.
    """

    kind: Literal["atss"] = "atss"
    topk: int = 9
    ignore_iof: float | None = None

    def __post_init__(self) -> None:
        """Reject an empty choice."""
        if self.topk < 1:
            raise ValueError(f"topk must be at least 1; got {self.topk}.")
        if self.ignore_iof is not None and self.ignore_iof <= 0:
            raise ValueError(f"ignore_iof must be positive or None; got {self.ignore_iof}.")

    def __call__(self, grid: PriorGrid, targets: PackedTargets) -> Assignment:
        """Assign a batch.

        Args:
            grid: P priors.
            targets: G objects of B images, packed; G may be 0.
        """
        boxes, image = targets.boxes.float(), targets.image_index
        covered = priors_under_ignore_boxes(grid, targets, self.ignore_iof)  # [B * P]
        slots = targets.num_images * grid.num_priors
        gt_index, quality = image.new_full((slots,), BACKGROUND), boxes.new_zeros(slots)
        if covered is not None:
            gt_index[covered] = IGNORED
        if len(boxes) > 0 and grid.num_priors > 0:
            prior = self._candidates(grid, targets, covered)  # [N, G]
            known = prior >= 0
            iou = aligned_iou(boxes, grid.boxes(boxes.device)[prior]).where(known, 0)  # [N, G]
            center = grid.centers(boxes.device)[prior]  # [N, G, 2]
            margin = torch.cat((center - boxes[:, :2], boxes[:, 2:] - center), dim=-1).amin(-1)
            positive = known & (iou >= _threshold(iou, known)) & (margin > MIN_INSIDE)  # [N, G]
            row = torch.arange(len(boxes), device=boxes.device)
            key = ((float_bits(iou) << 32) | (LOW_BITS - row)).where(positive, 0)  # 0 is nothing
            slot = image * grid.num_priors + prior.clamp(min=0)
            best = torch.zeros_like(gt_index)
            best.scatter_reduce_(0, slot.flatten(), key.flatten(), "amax")
            taken = best.nonzero()[:, 0]  # [T]
            gt_index[taken] = LOW_BITS - (best[taken] & LOW_BITS)
            quality[taken] = bits_float(best[taken] >> 32)
        return conclude(grid, targets, gt_index, quality)

    def _candidates(
        self, grid: PriorGrid, targets: PackedTargets, covered: Tensor | None
    ) -> Tensor:
        """[N, G] the nearest priors of each level, nearest first, -1 where a level has no more."""
        image = targets.image_index
        lattices = grid.lattices(image.device)
        cells = usable_cells(grid, targets, image)  # [G, M, 4] or [1, M, 4]
        everyone = torch.arange(len(image), device=image.device)
        # A block this large holds the nearest and shows it, but for objects far off the grid.
        size = math.isqrt(self.topk - 1) + 3
        found: list[Tensor] = []
        start = 0
        for level in grid.levels:
            stop = start + len(level.base_boxes)
            ground = _Ground(grid, targets, covered, lattices[start:stop], cells[:, start:stop])
            prior, certain = self._nearest(ground, everyone, size)  # [G, k], [G]
            rows, wider = (~certain).nonzero()[:, 0], 2 * size
            while len(rows):
                at_once = max(1, MAX_PAIRS // (len(level.base_boxes) * wider * wider))
                for part in range(0, len(rows), at_once):
                    few = rows[part : part + at_once]
                    prior[few], certain[few] = self._nearest(ground, few, wider)
                rows, wider = rows[~certain[rows]], 2 * wider
            found.append(prior[:, : level.num_priors])
            start = stop
        return torch.cat(found, dim=1).T.contiguous()  # [N, G]

    def _nearest(self, ground: "_Ground", rows: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """[R, k] nearest priors of a level in blocks of cells, and [R] whether none are nearer."""
        grid, targets, lattices = ground.grid, ground.targets, ground.lattices
        boxes = targets.boxes.float()[rows]
        center = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]  # [R, 1, 2]
        cells = ground.cells if len(ground.cells) == 1 else ground.cells[rows]  # [R or 1, A, 4]
        prior, first = nearest_block(lattices, cells, center, size)  # [R, A, size^2], [R, A, 2]
        prior = prior.flatten(1)  # [R, S]
        distance = (grid.centers(boxes.device)[prior] - center).square().sum(-1).sqrt()
        if ground.covered is not None:
            slot = targets.image_index[rows, None] * grid.num_priors + prior.clamp(min=0)
            distance = distance.masked_fill(ground.covered[slot], COVERED_DISTANCE)
        key = ((float_bits(distance) << 32) | prior).where(prior >= 0, NOTHING)  # [R, S]
        key = key.topk(self.topk, largest=False).values  # [R, k], ties by index
        missing = key == NOTHING
        farthest = bits_float(key >> 32).masked_fill(missing, math.inf)[:, -1]  # [R]
        beyond = _beyond(lattices, cells, center, first, size)  # [R]
        return (key & LOW_BITS).masked_fill(missing, -1), (farthest + MARGIN < beyond) | (
            beyond == math.inf
        )


@dataclass(frozen=True, slots=True)
class _Ground:
    """Where the nearest priors of one level are looked for.

    Attributes:
        grid: P priors.
        targets: G objects of B images.
        covered: [B * P] bool or None.
        lattices: the A lattices of the level.
        cells: [G, A, 4] or [1, A, 4] usable cells.
    """

    grid: PriorGrid
    targets: PackedTargets
    covered: Tensor | None
    lattices: Lattices
    cells: Tensor


def _beyond(lattices: Lattices, cells: Tensor, center: Tensor, first: Tensor, size: int) -> Tensor:
    """[R] a distance that every prior outside of the blocks exceeds; inf if there is none."""
    stride = lattices.stride[:, None]  # [A, 1]
    at = (center - lattices.centers) / stride  # [R, A, 2] in cells
    start, end = cells[..., :2], cells[..., 2:]  # [R or 1, A, 2] each
    before = (at - (first - 1)).where(first > start, math.inf)
    after = (first + size - at).where(first + size < end, math.inf)
    nearest = at.round().maximum(start).minimum(end - 1)
    aside = (at - nearest).flip(-1)  # [R, A, 2] how far at least in the other direction
    return (torch.minimum(before, after).hypot(aside) * stride).amin((1, 2))


def _threshold(iou: Tensor, known: Tensor) -> Tensor:
    """[G] mean plus unbiased standard deviation of the known IoU [N, G]; NaN for a single one.

    In float64, because a tiny object inside of large priors has the same IoU with all of them, and
    whether their mean is that IoU must not hang on the order in which a device adds.
    """
    count = known.sum(0)  # [G]
    exact = iou.double()  # [N, G], 0 where not known
    mean = exact.sum(0) / count
    spread = (exact - mean).square().where(known, 0).sum(0) / (count - 1)
    return (mean + spread.sqrt()).float()
