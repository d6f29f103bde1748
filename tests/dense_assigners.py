"""The assigners as they were published: objects x priors tables and a loop over objects.

Slow, large and plain: oracles for the tests and the baseline of `benchmarks/assign.py`.
"""

from functools import singledispatch
from itertools import pairwise

import torch
from torch import Tensor

from motedet.assign import ATSS, FCOSAssigner, Hierarchical, MaxIoU, PlainAssigner
from motedet.geometry import pairwise_iof, pairwise_iou, pairwise_similarity
from motedet.priors import PriorGrid
from motedet.structures import IGNORED, PackedTargets


def dense_assign(assigner: PlainAssigner, grid: PriorGrid, targets: PackedTargets) -> Tensor:
    """[B, P] gt_index, image by image, with the priors that take part only."""
    answer = torch.full((targets.num_images, grid.num_priors), IGNORED)
    shrinks = 0
    for image in range(targets.num_images):
        rows = (targets.image_index == image).nonzero()[:, 0]
        ignore = targets.ignore_boxes[targets.ignore_image_index == image]
        keep = torch.ones(grid.num_priors, dtype=torch.bool)
        if targets.valid_sizes is not None:
            keep = valid_mask(grid, *targets.valid_sizes[image])
        if targets.allowed_border is not None:
            keep &= border_mask(grid, *targets.image_sizes[image], targets.allowed_border)
        codes = dense_image(assigner, grid, keep, targets.boxes[rows], ignore, shrinks)
        first = int(rows[0]) if len(rows) else 0
        answer[image, keep] = torch.where(codes > 0, codes - 1 + first, codes - 1)
        if isinstance(assigner, Hierarchical) and assigner.shared_priors and len(rows):
            shrinks += 1
    return answer


def valid_mask(grid: PriorGrid, height: int, width: int) -> Tensor:
    masks = []
    for level in grid.levels:
        mask = torch.zeros(level.height, level.width, len(level.base_boxes), dtype=torch.bool)
        rows = min(-(-height // level.stride), level.height)
        columns = min(-(-width // level.stride), level.width)
        mask[:rows, :columns] = True
        masks.append(mask.flatten())
    return torch.cat(masks)


def border_mask(grid: PriorGrid, height: int, width: int, border: float) -> Tensor:
    boxes = grid.boxes()
    return (
        (boxes[:, 0] >= -border)
        & (boxes[:, 1] >= -border)
        & (boxes[:, 2] < width + border)
        & (boxes[:, 3] < height + border)
    )


def level_counts(grid: PriorGrid, keep: Tensor) -> list[int]:
    """How many priors of each level are kept."""
    ends = (*grid.level_starts, grid.num_priors)
    return [int(keep[start:stop].sum()) for start, stop in pairwise(ends)]


@singledispatch
def dense_image(
    assigner: PlainAssigner,
    grid: PriorGrid,
    keep: Tensor,
    gt: Tensor,
    ignore: Tensor,
    shrinks: int,
) -> Tensor:
    """[N] of one image: object + 1, 0 background, -1 ignored."""
    raise TypeError(f"no dense form of {type(assigner)}")


# --- MaxIoU -----------------------------------------------------------------------------------


@dense_image.register
def _(
    assigner: MaxIoU, grid: PriorGrid, keep: Tensor, gt: Tensor, ignore: Tensor, shrinks: int
) -> Tensor:
    priors = grid.boxes()[keep]
    if len(gt) == 0 or len(priors) == 0:
        return torch.zeros(len(priors), dtype=torch.int64)
    if assigner.similarity == "iou":
        overlaps = pairwise_iou(gt, priors)  # [G, N]
    else:
        overlaps = pairwise_similarity("nwd", gt, priors, nwd_constant=assigner.nwd_constant)
    if assigner.ignore_iof is not None and len(ignore):
        if assigner.ignore_wrt_candidates:
            cover = pairwise_iof(priors, ignore).amax(1)
        else:
            cover = pairwise_iof(ignore, priors).amax(0)
        overlaps[:, cover > assigner.ignore_iof] = -1
    codes = torch.full((len(priors),), -1)
    best = overlaps.amax(0)
    first = (overlaps == best).int().argmax(0)  # the lowest object with the best overlap
    band = assigner.neg_iou if isinstance(assigner.neg_iou, tuple) else (0.0, assigner.neg_iou)
    codes[(best >= band[0]) & (best < band[1])] = 0
    strong = best >= assigner.pos_iou
    codes[strong] = first[strong] + 1
    if assigner.low_quality:
        top = overlaps.amax(1)
        for row in range(len(gt)):
            if top[row] >= assigner.min_pos_iou and (top[row] > 0 or assigner.zero_overlap_matches):
                ties = (overlaps[row] == top[row]).nonzero()[:, 0]
                codes[ties if assigner.all_ties else ties[:1]] = row + 1
    return codes


# --- ATSS -------------------------------------------------------------------------------------


@dense_image.register
def _(
    assigner: ATSS, grid: PriorGrid, keep: Tensor, gt: Tensor, ignore: Tensor, shrinks: int
) -> Tensor:
    priors = grid.boxes()[keep]
    num = len(priors)
    codes = torch.zeros(num, dtype=torch.int64)
    if len(gt) == 0 or num == 0:
        return codes
    overlaps = pairwise_iou(priors, gt)  # [N, G]
    gt_points = torch.stack(((gt[:, 0] + gt[:, 2]) / 2, (gt[:, 1] + gt[:, 3]) / 2), 1)
    points = torch.stack(((priors[:, 0] + priors[:, 2]) / 2, (priors[:, 1] + priors[:, 3]) / 2), 1)
    distances = (points[:, None, :] - gt_points[None, :, :]).pow(2).sum(-1).sqrt()  # [N, G]
    if assigner.ignore_iof is not None and len(ignore):
        covered = pairwise_iof(priors, ignore).amax(1) > assigner.ignore_iof
        distances[covered] = 1e8
        codes[covered] = -1
    counts = level_counts(grid, keep)
    candidates = []
    start = 0
    for count in counts:
        part = distances[start : start + count].argsort(dim=0, stable=True)[: assigner.topk]
        candidates.append(part + start)
        start += count
    chosen = torch.cat(candidates)  # [n, G]
    own = overlaps.gather(0, chosen)
    # float32 sums depend on the number of objects: torch adds [n, 1] in another order than [n, 2]
    exact = own.double()
    spread = exact.std(0) if len(own) > 1 else float("nan")
    threshold = (exact.mean(0) + spread).float()
    row = torch.arange(len(gt))
    table = torch.full((num, len(gt)), -float("inf"))
    for step in range(len(chosen)):
        center = points[chosen[step]]
        sides = torch.cat((center - gt[:, :2], gt[:, 2:] - center), dim=1)
        positive = (own[step] >= threshold) & (sides.amin(1) > 0.01)
        table[chosen[step][positive], row[positive]] = own[step][positive]
    best = table.amax(1)
    first = (table == best[:, None]).int().argmax(1)
    taken = best > -float("inf")
    codes[taken] = first[taken] + 1
    return codes


# --- FCOS -------------------------------------------------------------------------------------


@dense_image.register
def _(
    assigner: FCOSAssigner, grid: PriorGrid, keep: Tensor, gt: Tensor, ignore: Tensor, shrinks: int
) -> Tensor:
    points = grid.points()[keep]
    strides = grid.strides()[keep]
    num, num_gts = len(points), len(gt)
    if num_gts == 0 or num == 0:
        return torch.zeros(num, dtype=torch.int64)
    counts = torch.tensor(level_counts(grid, keep))
    ranges = torch.tensor(assigner.regress_ranges).repeat_interleave(counts, dim=0)
    areas = ((gt[:, 2] - gt[:, 0]) * (gt[:, 3] - gt[:, 1]))[None].repeat(num, 1)  # [N, G]
    ranges = ranges[:, None, :].expand(num, num_gts, 2)
    boxes = gt[None].expand(num, num_gts, 4)
    xs = points[:, 0, None].expand(num, num_gts)
    ys = points[:, 1, None].expand(num, num_gts)
    ltrb = torch.stack(
        (xs - boxes[..., 0], ys - boxes[..., 1], boxes[..., 2] - xs, boxes[..., 3] - ys), -1
    )
    inside = ltrb.amin(-1) > 0
    if assigner.center_radius is not None:
        center_x = (boxes[..., 0] + boxes[..., 2]) / 2
        center_y = (boxes[..., 1] + boxes[..., 3]) / 2
        radius = (strides * assigner.center_radius)[:, None].expand(num, num_gts)
        x1 = torch.maximum(center_x - radius, boxes[..., 0])
        y1 = torch.maximum(center_y - radius, boxes[..., 1])
        x2 = torch.minimum(center_x + radius, boxes[..., 2])
        y2 = torch.minimum(center_y + radius, boxes[..., 3])
        inside = torch.stack((xs - x1, ys - y1, x2 - xs, y2 - ys), -1).amin(-1) > 0
    farthest = ltrb.amax(-1)
    in_range = (farthest >= ranges[..., 0]) & (farthest <= ranges[..., 1])
    areas[~inside] = 1e8
    areas[~in_range] = 1e8
    smallest = areas.amin(1)
    first = (areas == smallest[:, None]).int().argmax(1)
    return torch.where(smallest < 1e8, first + 1, 0)


# --- Hierarchical -----------------------------------------------------------------------------


@dense_image.register
def _(
    assigner: Hierarchical, grid: PriorGrid, keep: Tensor, gt: Tensor, ignore: Tensor, shrinks: int
) -> Tensor:
    priors = grid.boxes()[keep]
    for _step in range(shrinks):
        priors = shrunk(priors, assigner.ratio)
    num = len(priors)
    if len(gt) == 0 or num == 0:
        return torch.zeros(num, dtype=torch.int64)

    def similarity(boxes: Tensor) -> Tensor:
        return pairwise_similarity(
            assigner.similarity, gt, boxes, nwd_constant=assigner.nwd_constant
        )

    first = similarity(priors)  # [G, N]
    priors = shrunk(priors, assigner.ratio)
    second = similarity(priors)
    taken_out = torch.zeros(num, dtype=torch.bool)
    if assigner.ignore_iof is not None and len(ignore):
        if assigner.ignore_rule == "published":
            cover = pairwise_similarity("iou", priors, ignore).amax(1)
            first[:, cover > assigner.ignore_iof] = -1
        else:
            taken_out = pairwise_iof(priors, ignore).amax(1) > assigner.ignore_iof
    likeness = second.amax(0)
    if taken_out.any():
        first[:, taken_out], second[:, taken_out] = -float("inf"), -float("inf")
    codes = stage(first, assigner.topk[0], assigner.min_similarity)
    fallback = stage(second, assigner.topk[1], assigner.min_similarity, likeness)
    codes = torch.where(codes > 0, codes, fallback)
    if assigner.inside:
        center = (priors[:, :2] + priors[:, 2:]) / 2
        box = gt[(codes - 1).clamp(min=0)]
        margin = torch.cat((center - box[:, :2], box[:, 2:] - center), dim=1).amin(1)
        codes = torch.where(margin > 0, codes, 0)
    codes[taken_out] = -1
    return codes


def stage(table: Tensor, k: int, min_similarity: float, likeness: Tensor | None = None) -> Tensor:
    """One stage of the published rule; with fewer than k usable priors all of them are taken."""
    best = table.amax(0) if likeness is None else likeness
    codes = torch.full((table.shape[1],), -1)
    codes[(best >= 0) & (best < min_similarity)] = 0
    for row in range(len(table)):
        values = table[row].topk(min(k, table.shape[1])).values
        for value in values[values > -float("inf")]:
            codes[table[row] == value] = row + 1
    return codes


def shrunk(boxes: Tensor, ratio: float) -> Tensor:
    center_x, width = (boxes[:, 2] + boxes[:, 0]) / 2, boxes[:, 2] - boxes[:, 0]
    center_y, height = (boxes[:, 3] + boxes[:, 1]) / 2, boxes[:, 3] - boxes[:, 1]
    return torch.stack(
        (
            center_x - width * ratio / 2,
            center_y - height * ratio / 2,
            center_x + width * ratio / 2,
            center_y + height * ratio / 2,
        ),
        dim=1,
    )
