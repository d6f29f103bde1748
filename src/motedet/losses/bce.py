"""Binary cross-entropy on logits."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BCELoss:
    """Binary cross-entropy on logits, for classes and for centre-ness.

    Attributes:
        weight: multiplies the result.
    """

    kind: Literal["bce"] = "bce"
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Reject a negative weight.

        Raises:
            ValueError: if the weight is negative.
        """
        if self.weight < 0:
            raise ValueError(f"weight must not be negative; got {self.weight}.")

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every entry, not reduced.

        Args:
            logits: [N, K], or any shape.
            targets: as in PyTorch's cross-entropy, either [N] int64 labels, where any label
                outside 0..K-1 is background, or probabilities shaped like `logits`.

        Returns:
            Shaped like `logits`.
        """
        if not targets.is_floating_point():
            classes = torch.arange(logits.shape[1], device=targets.device)  # [K]
            targets = (targets[:, None] == classes).to(logits.dtype)  # [N, K]
        return self.weight * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
