"""Loss from the normalised Wasserstein distance (Wang et al. 2021, arXiv 2110.13389)."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from motedet.geometry import NWDMode, nwd_loss


@dataclass(frozen=True, kw_only=True)
class NWDLoss:
    """Wasserstein distance of boxes as Gaussians; has a gradient without overlap.

    Attributes:
        mode: `exp` 1 - NWD, bounded; the others are described at `motedet.geometry.nwd_loss`.
        constant: C of NWD in pixels, about the mean object size; the default is AI-TOD's.
        gamma: of mode `norm_sqrt`.
        eps: added to every side and to the squared centre distance.
        weight: multiplies the result.
    """

    kind: Literal["nwd"] = "nwd"
    mode: NWDMode = "exp"
    constant: float = 12.8
    gamma: float = 1.0
    eps: float = 1e-7
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Reject values outside their ranges.

        Raises:
            ValueError: if a scale is not positive or weight is negative.
        """
        if min(self.constant, self.gamma, self.eps) <= 0 or self.weight < 0:
            raise ValueError(f"NWDLoss needs positive scales and weight >= 0; got {self}.")

    def __call__(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Loss of boxes [N, 4] against [N, 4], xyxy; returns [N], not reduced."""
        loss = nwd_loss(
            pred_boxes,
            target_boxes,
            mode=self.mode,
            constant=self.constant,
            gamma=self.gamma,
            eps=self.eps,
        )
        return self.weight * loss
