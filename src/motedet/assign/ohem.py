"""Online hard example mining (Shrivastava et al. 2016, arXiv:1604.03540): the worst ones learn."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from motedet.assign.sampling import Drawn
from motedet.structures import BACKGROUND


@dataclass(frozen=True, kw_only=True)
class OHEMSampler:
    """The candidates of largest loss: positives up to a share, then background up to the number.

    The paper lets candidates suppress one another first; this, as mmdetection has it, does not.

    Attributes:
        num: how many are taken from an image, where there are enough.
        pos_fraction: largest share of them that may be positive.
    """

    kind: Literal["ohem"] = "ohem"
    num: int = 512
    pos_fraction: float = 0.25

    def __post_init__(self) -> None:
        """Reject numbers that take nothing."""
        if self.num < 1:
            raise ValueError(f"num must be at least 1; got {self.num}.")
        if not 0 <= self.pos_fraction <= 1:
            raise ValueError(f"pos_fraction must be in [0, 1]; got {self.pos_fraction}.")

    def __call__(self, gt_index: Tensor, losses: Tensor) -> Drawn:
        """Choose in a batch.

        Args:
            gt_index: [B, N] int64, at least 0 for positives, BACKGROUND, or IGNORED for what must
                not be taken, padding included.
            losses: [B, N] of each candidate, of its class alone in the published form, where
                `gt_index` does not ignore it. Of equal ones the first is taken.

        Raises:
            ValueError: if there is not one loss per candidate.
        """
        if losses.shape != gt_index.shape:
            raise ValueError(
                f"losses {list(losses.shape)} do not fit candidates {list(gt_index.shape)}; "
                "one per candidate is expected."
            )
        most = int(self.num * self.pos_fraction)
        positive = hardest(losses, gt_index >= 0, gt_index.new_tensor(most))
        wanted = self.num - positive.sum(1, keepdim=True)  # [B, 1]
        return Drawn(positive, hardest(losses, gt_index == BACKGROUND, wanted))


def hardest(losses: Tensor, allowed: Tensor, count: Tensor) -> Tensor:
    """The allowed candidates of largest loss in each row.

    Args:
        losses: [B, N]; NaN counts as the largest. Equal ones: lower index first.
        allowed: [B, N] bool.
        count: [B, 1] or scalar int64, how many.

    Returns:
        [B, N] bool.
    """
    order = losses.argsort(dim=1, descending=True, stable=True)  # [B, N]
    candidate = allowed.gather(1, order)  # [B, N]
    chosen = candidate & (candidate.cumsum(dim=1) <= count)
    return torch.zeros_like(allowed).scatter_(1, order, chosen)
