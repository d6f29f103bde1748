"""Gaussian Assignment as it was published: full maps, and a loop over images and objects.

Slow and plain: the oracle for the tests and the baseline of `benchmarks/assign.py`.
"""

import torch
from torch import Tensor

from dense_assigners import border_mask, valid_mask
from motedet.assign import GaussianAssigner
from motedet.assign.gaussian import GaussianMaps
from motedet.geometry import pairwise_iof
from motedet.priors import PriorGrid
from motedet.structures import BACKGROUND, IGNORED, Assignment, PackedTargets


def dense_gaussian(
    assigner: GaussianAssigner, grid: PriorGrid, targets: PackedTargets, num_classes: int
) -> GaussianMaps:
    """Image by image, object by object, largest first."""
    shape = (targets.num_images, grid.num_priors)
    gt_index = torch.full(shape, BACKGROUND)
    quality, weight = torch.zeros(shape), torch.zeros(shape)
    heatmap = torch.zeros(*shape, num_classes)
    beta = assigner.alpha if assigner.beta is None else assigner.beta
    for image in range(targets.num_images):
        usable, covered = part_taken(assigner, grid, targets, image)
        rows = (targets.image_index == image).nonzero()[:, 0]
        size = map_size(grid, targets, image)
        boxes = targets.boxes[rows]
        area = processed_area(assigner, boxes)
        gt_index[image, covered] = IGNORED
        for k in area.argsort(descending=True, stable=True).tolist():
            row, box, label = int(rows[k]), boxes[k], int(targets.labels[rows[k]])
            drawn = kernel_map(assigner, grid, size, box, assigner.alpha) * usable
            heatmap[image, :, label] = heatmap[image, :, label].maximum(drawn)
            g = drawn
            if beta != assigner.alpha:
                g = kernel_map(assigner, grid, size, box, beta) * usable
            threshold = assigner.pos_thresh
            cells = g >= threshold if assigner.inclusive else g > threshold
            gt_index[image, cells] = row
            quality[image, cells] = g[cells]
            share = g[cells] * area[k] / g[cells].sum()
            weight[image, cells] = share if assigner.weighted else 1.0
        gt_index[image, ~usable & ~covered] = IGNORED
    return GaussianMaps(Assignment(gt_index, quality), heatmap, weight)


def kernel_map(
    assigner: GaussianAssigner, grid: PriorGrid, size: tuple[int, int], box: Tensor, scale: float
) -> Tensor:
    """[P] the Gaussian of one box, 0 outside of its rectangle of cells."""
    level = grid.levels[0]
    height, width = size
    x1, y1, x2, y2 = (box / level.stride).unbind()
    limit = assigner.max_side / level.stride
    w = (x2.clamp(0, width - 1) - x1.clamp(0, width - 1)).clamp(0, limit)
    h = (y2.clamp(0, height - 1) - y1.clamp(0, height - 1)).clamp(0, limit)
    half_x, half_y = (w / 2 * scale).trunc(), (h / 2 * scale).trunc()
    column = ((box[0] + box[2]) / 2 / level.stride).trunc()
    row = ((box[1] + box[3]) / 2 / level.stride).trunc()
    j = torch.arange(level.width)[None, :] - column  # [1, W]
    i = torch.arange(level.height)[:, None] - row  # [H, 1]
    sigma_x, sigma_y = (2 * half_x + 1) / 6, (2 * half_y + 1) / 6
    value = (-(j**2 / (2 * sigma_x**2) + i**2 / (2 * sigma_y**2))).exp()  # [H, W]
    return (value * ((j.abs() <= half_x) & (i.abs() <= half_y))).flatten()


def processed_area(assigner: GaussianAssigner, boxes: Tensor) -> Tensor:
    """[G] a_k."""
    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    return {"log": area.log(), "sqrt": area.sqrt(), "none": area}[assigner.area]


def map_size(grid: PriorGrid, targets: PackedTargets, image: int) -> tuple[int, int]:
    """(rows, columns) of the image's own map."""
    level = grid.levels[0]
    if targets.valid_sizes is None:
        return level.height, level.width
    height, width = (-(-side // level.stride) for side in targets.valid_sizes[image])
    return min(height, level.height), min(width, level.width)


def part_taken(
    assigner: GaussianAssigner, grid: PriorGrid, targets: PackedTargets, image: int
) -> tuple[Tensor, Tensor]:
    """[P] bool, the priors that may be drawn on, and [P] bool, those that ignore boxes take out."""
    usable = torch.ones(grid.num_priors, dtype=torch.bool)
    covered = torch.zeros(grid.num_priors, dtype=torch.bool)
    if targets.valid_sizes is not None:
        usable &= valid_mask(grid, *targets.valid_sizes[image])
    if targets.allowed_border is not None:
        usable &= border_mask(grid, *targets.image_sizes[image], targets.allowed_border)
    ignore = targets.ignore_boxes[targets.ignore_image_index == image]
    if assigner.ignore_iof is not None and len(ignore) and (targets.image_index == image).any():
        priors = grid.boxes()
        inside = (priors[:, None, :2] >= ignore[:, :2]) & (priors[:, None, 2:] <= ignore[:, 2:])
        cover = pairwise_iof(priors, ignore).maximum(inside.all(-1).float())
        covered = (cover > assigner.ignore_iof).any(1)
    return usable & ~covered, covered
