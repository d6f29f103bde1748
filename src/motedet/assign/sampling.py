"""Random subsets of positives and background for two-stage training (Ren et al. 2015, 1506.01497).

The draw for an image depends on that image alone, so a step gives the same losses however images
are spread over batches and processes, and on whichever device.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from motedet.structures import BACKGROUND


@dataclass(frozen=True, slots=True)
class Drawn:
    """What of a batch takes part in the loss.

    Attributes:
        positive: [B, N] bool.
        negative: [B, N] bool.
    """

    positive: Tensor
    negative: Tensor


@dataclass(frozen=True, kw_only=True)
class RandomSampler:
    """Uniform draws without replacement: positives up to a share, then background up to the number.

    Attributes:
        num: how many are drawn from an image, where there are enough.
        pos_fraction: largest share of them that may be positive.
        neg_pos_ub: at most so much background per positive that was drawn, an image without any
            counting as one; None for no such bound.
    """

    kind: Literal["random"] = "random"
    num: int = 256
    pos_fraction: float = 0.5
    neg_pos_ub: float | None = None

    def __post_init__(self) -> None:
        """Reject numbers that draw nothing."""
        if self.num < 1:
            raise ValueError(f"num must be at least 1; got {self.num}.")
        if not 0 <= self.pos_fraction <= 1:
            raise ValueError(f"pos_fraction must be in [0, 1]; got {self.pos_fraction}.")
        if self.neg_pos_ub is not None and self.neg_pos_ub < 0:
            raise ValueError(f"neg_pos_ub must be at least 0 or None; got {self.neg_pos_ub}.")

    def __call__(self, gt_index: Tensor, seeds: Sequence[int], *, salt: int = 0) -> Drawn:
        """Draw from a batch.

        Args:
            gt_index: [B, N] int64, at least 0 for positives, BACKGROUND, or IGNORED for what must
                not be drawn, padding included.
            seeds: of each of the B images.
            salt: tells apart several draws from the same images, such as those of two stages.

        Raises:
            ValueError: if there is not one seed per image.
        """
        if len(seeds) != len(gt_index):
            raise ValueError(f"{len(seeds)} seeds do not fit {len(gt_index)} images.")
        keys = _random_keys(gt_index, seeds, salt)  # [B, N]
        most = int(self.num * self.pos_fraction)
        positive = _largest(keys.where(gt_index >= 0, -1), most)
        taken = positive.sum(1, keepdim=True)  # [B, 1]
        wanted = self.num - taken
        if self.neg_pos_ub is not None:
            wanted = wanted.minimum((taken.clamp(min=1) * self.neg_pos_ub).long())
        negative = _largest(keys.where(gt_index == BACKGROUND, -1), self.num, wanted)
        return Drawn(positive, negative)


def _random_keys(gt_index: Tensor, seeds: Sequence[int], salt: int) -> Tensor:
    """[B, N] random int64 at least 0; equal ones practically never happen.

    Drawn on the CPU: its generator gives the same numbers everywhere, and the first ones of a row
    whatever the row's length, so that padding for another image of the batch changes nothing.
    """
    keys = torch.empty(gt_index.shape, dtype=torch.int64)
    for row, seed in zip(keys, seeds, strict=True):
        # The generator uses 32 bits of its seed, so these have to depend on all of both numbers.
        mixed = zlib.crc32(f"{seed} {salt}".encode())
        row.random_(generator=torch.Generator().manual_seed(mixed))
    return keys.to(gt_index.device)


def _largest(keys: Tensor, most: int, wanted: Tensor | None = None) -> Tensor:
    """[B, N] bool, up to `most` of the largest keys [B, N] that are at least 0.

    Of each row only as many as `wanted` [B, 1].
    """
    key, place = keys.topk(min(most, keys.shape[1]), dim=1)  # [B, k] each, falling
    chosen = key >= 0
    if wanted is not None:
        chosen = chosen & (torch.arange(key.shape[1], device=key.device) < wanted)
    return torch.zeros_like(keys, dtype=torch.bool).scatter_(1, place, chosen)
