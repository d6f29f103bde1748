"""The smallest object that every placement gives something to learn from."""

from typing import Final

import torch

from motedet.assign import PredictionAware
from motedet.assign.center_prior import inside_pairs
from motedet.models.detectors import AutoAssignSpec
from motedet.priors import PriorGrid
from motedet.recipes import Recipe
from motedet.structures import PackedTargets, Size, Targets

PLACES: Final = 200  # random ones; a share of 1.5 % that misses is seen with 95 %
LARGEST: Final = 64  # px


def smallest_with_positive(
    recipe: Recipe, grid: PriorGrid, size: Size, *, places: int = PLACES
) -> int | None:
    """Side of the smallest square, in whole pixels, that has a positive prior wherever it lies.

    Args:
        recipe: whose assigner is asked; every object is alone in its image.
        grid: of the detector for images of this size.
        size: (height, width) of the network input.
        places: how many random ones are tried with each side.

    Returns:
        Pixels of the network input; None if that depends on the predictions, or is larger than 64.
    """
    rule = recipe.model.assigner
    if isinstance(rule, PredictionAware):
        return None
    for side in range(1, min(LARGEST, *size) + 1):
        if _always_positive(recipe, grid, _squares(side, size, places)):
            return side
    return None


def _always_positive(recipe: Recipe, grid: PriorGrid, targets: PackedTargets) -> bool:
    """Whether each of the objects has a prior that learns from it."""
    rule = recipe.model.assigner
    if isinstance(rule, PredictionAware):
        return False
    if isinstance(rule, AutoAssignSpec):
        if rule.force_topk is not None:
            return True
        if rule.bag is None:
            found = inside_pairs(grid, targets).gt
            return bool(torch.bincount(found, minlength=len(targets.boxes)).all())
        rule = rule.bag
    return bool(rule(grid, targets).positive.any(dim=1).all())


def _squares(side: int, size: Size, places: int) -> PackedTargets:
    """One square per image, anywhere inside of it; the same places whenever asked."""
    generator = torch.Generator().manual_seed(side)
    room = torch.tensor([size[1] - side, size[0] - side])  # x, y
    corners = torch.rand(places, 2, generator=generator) * room  # [N, 2]
    boxes = torch.cat((corners, corners + side), dim=1)  # [N, 4]
    label = torch.zeros(1, dtype=torch.int64)
    return PackedTargets.pack([Targets.of(box[None], label, size) for box in boxes])
