"""A slip of RFLA's released AutoAssign (Xu et al. 2022, arXiv 2208.08738), kept for comparison.

Its code expects a boolean table "point is in the bag of object" and gets integers: in every column
the assigned object minus one, -1 for background and -2 for ignored points. Two things follow.
Inverted bit by bit the integers are row numbers, and those rows are what is blanked. And every
point counts as in all bags, unless it was assigned to the first object, whose number is 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from motedet.structures import BACKGROUND, IGNORED, Assignment, PackedTargets


@dataclass(frozen=True, slots=True)
class IntegerMask:
    """What is left of the assignment.

    Attributes:
        blank: [B, P] bool, points without centre prior and IoU: the first one if any point is
            background, the second if any is ignored, the g-th from the end for each object g that
            has points.
        member: [B, P] bool, points that count as inside of every object.
    """

    blank: Tensor
    member: Tensor

    @classmethod
    def of(cls, match: Assignment, targets: PackedTargets) -> "IntegerMask":
        """Read an assignment of P points as the released code does.

        Args:
            match: of the batch.
            targets: G objects of B images.
        """
        num_images, num_priors = match.gt_index.shape
        images = torch.arange(num_images, device=match.gt_index.device)
        first = torch.searchsorted(targets.image_index, images)  # [B] first row of each image
        number = match.gt_index - first[:, None]  # [B, P]
        number = number.where(match.positive, match.gt_index)
        row = {BACKGROUND: 0, IGNORED: 1}
        inverse = num_priors - 1 - number  # [B, P] rows counted from the end
        for code, at in row.items():
            inverse = inverse.masked_fill(number == code, at)
        blank = torch.zeros_like(match.positive).scatter_(1, inverse, value=True)
        return cls(blank, number != 0)
