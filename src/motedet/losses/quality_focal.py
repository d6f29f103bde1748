"""Quality focal loss (Li et al. 2020, arXiv 2006.04388)."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class QualityFocalLoss:
    """Focal loss whose target is a quality, such as the IoU, in place of 1 (eq. 3).

    Attributes:
        beta: exponent of the distance between probability and target.
        weight: multiplies the result.
    """

    kind: Literal["quality_focal"] = "quality_focal"
    beta: float = 2.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Reject values outside their ranges.

        Raises:
            ValueError: if beta or weight is negative.
        """
        if self.beta < 0 or self.weight < 0:
            raise ValueError(
                f"beta and weight must not be negative; got {self.beta} and {self.weight}."
            )

    def __call__(self, logits: Tensor, labels: Tensor, quality: Tensor) -> Tensor:
        """Loss of every entry, not reduced.

        Args:
            logits: [N, K].
            labels: [N] int64; any label outside 0..K-1 is background.
            quality: [N] in [0, 1], the target at the label.

        Returns:
            [N, K].
        """
        classes = torch.arange(logits.shape[1], device=labels.device)  # [K]
        positive = labels[:, None] == classes  # [N, K]
        target = positive * quality.to(logits.dtype)[:, None]  # [N, K]
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return self.weight * (target - logits.sigmoid()).abs() ** self.beta * entropy
